// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <vector>

namespace fathom::inline FATHOM_ABI::ref {

template <class T>
T dot(const T* a, const T* b, int count) {
  T sum = 0;
  for (int i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/// Number of keys that query `row` of `rows` sees of `keys`.
inline int visible(bool causal, int row, int rows, int keys) { return causal ? row + 1 + keys - rows : keys; }

template <class T>
void run(const Packing&, const op::Attention<Uniform<T>>& op) {
  for (int s = 0; s < op.packing->sequences(); ++s) {
    const int rows = op.packing->length(s), first_row = op.packing->offsets[s], first_key = op.key_packing->offsets[s];
    const int past = op.cache.keys == nullptr ? 0 : op.key_packing->past_of(s);
    const int added = op.key_packing->length(s), keys = past + added;
    const auto cached = [&](T* cache, int head, int j) {
      return cache + (std::int64_t(s * op.kv_heads + head) * op.cache.length + j) * op.head_width;
    };
    const auto append = [&](const Matrix<const T>& fresh, T* cache) {
      for (int head = 0; head < op.kv_heads; ++head)
        for (int j = 0; j < added; ++j)
          std::copy_n(fresh.row(first_key + j) + head * op.head_width, op.head_width, cached(cache, head, past + j));
    };
    const auto row_of = [&](const Matrix<const T>& fresh, T* cache, int head, int j) -> const T* {
      return cache == nullptr ? fresh.row(first_key + j) + head * op.head_width : cached(cache, head, j);
    };
    if (op.cache.keys != nullptr) append(op.k, op.cache.keys), append(op.v, op.cache.values);
    for (int h = 0; h < op.heads; ++h)
      for (int i = 0; i < rows; ++i) {
        const int query_column = h * op.head_width, head = h / (op.heads / op.kv_heads);
        const T* q = op.q.row(first_row + i) + query_column;
        T* o = op.o.row(first_row + i) + query_column;

        const int seen = visible(op.causal, i, rows, keys);
        Indexed<std::vector<T>> score(seen);
        for (int j = 0; j < seen; ++j)
          score[j] = T(op.scale) * dot(q, row_of(op.k, op.cache.keys, head, j), op.head_width);
        const T largest = *std::max_element(score.begin(), score.end());
        T sum = 0;
        for (const T x : score) sum += std::exp(x - largest);
        const T log_sum_exp = largest + std::log(sum);

        std::fill_n(o, op.head_width, T(0));
        for (int j = 0; j < seen; ++j) {
          const T probability =
              std::exp(score[j] - log_sum_exp) * factor<T>(op.dropout, s, h, op.packing->past_of(s) + i, j);
          const T* v = row_of(op.v, op.cache.values, head, j);
          for (int c = 0; c < op.head_width; ++c) o[c] += probability * v[c];
        }
        op.lse.row(h)[first_row + i] = log_sum_exp;
      }
  }
}

/// With probabilities p, dropout factors m and o_i = Σ_j m_ij p_ij v_j, given or summed here:
///   dv_j = Σ_i m_ij p_ij do_i;   dp_ij = m_ij do_i · v_j;   ds_ij = p_ij (dp_ij − Σ_k p_ik dp_ik) = p_ij (dp_ij − do_i
///   · o_i);   dq_i = scale Σ_j ds_ij k_j;   dk_j = scale Σ_i ds_ij q_i.
template <class T>
void run(const Packing&, const op::AttentionBackward<Uniform<T>>& op) {
  const auto clear = [](const Matrix<T>& m) {
    for (int n = 0; n < m.rows; ++n) std::fill_n(m.row(n), m.columns, T(0));
  };
  clear(op.dq), clear(op.dk), clear(op.dv);
  for (int s = 0; s < op.packing->sequences(); ++s) {
    const int rows = op.packing->length(s), keys = op.key_packing->length(s);
    for (int h = 0; h < op.heads; ++h)
      for (int i = 0; i < rows; ++i) {
        const int n = op.packing->offsets[s] + i;
        const int query_column = h * op.head_width, key_column = h / (op.heads / op.kv_heads) * op.head_width;
        const T* q = op.q.row(n) + query_column;
        const T* d_o = op.d_o.row(n) + query_column;
        T* dq = op.dq.row(n) + query_column;
        const int seen = visible(op.causal, i, rows, keys), first_key = op.key_packing->offsets[s];
        const auto probability = [&](int j) {
          const T* k = op.k.row(first_key + j) + key_column;
          return std::exp(T(op.scale) * dot(q, k, op.head_width) - op.lse.row(h)[n]);
        };
        if (op.restored) {
          T* o = op.restored.row(n) + query_column;
          std::fill_n(o, op.head_width, T(0));
          for (int j = 0; j < seen; ++j) {
            const T weight = probability(j) * factor<T>(op.dropout, s, h, op.packing->past_of(s) + i, j);
            const T* v = op.v.row(first_key + j) + key_column;
            for (int c = 0; c < op.head_width; ++c) o[c] += weight * v[c];
          }
        }
        const T* o = (op.restored ? op.restored.row(n) : op.o.row(n)) + query_column;
        const T delta = dot(d_o, o, op.head_width);
        for (int j = 0; j < seen; ++j) {
          const int m = first_key + j;
          const T* k = op.k.row(m) + key_column;
          const T* v = op.v.row(m) + key_column;
          T* dk = op.dk.row(m) + key_column;
          T* dv = op.dv.row(m) + key_column;
          const T p = probability(j);
          const T keep = factor<T>(op.dropout, s, h, op.packing->past_of(s) + i, j);
          const T ds = p * (keep * dot(d_o, v, op.head_width) - delta);
          for (int c = 0; c < op.head_width; ++c) {
            dv[c] += keep * p * d_o[c];
            dq[c] += T(op.scale) * ds * k[c];
            dk[c] += T(op.scale) * ds * q[c];
          }
        }
      }
  }
}

template <class T>
void run(const Packing& packing, const op::Rotary<Uniform<T>>& op) {
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < op.x.columns; c += 2) {
      T* pair = op.x.row(n) + c;
      const T angle = T(place.position * std::pow(op.base, -double(c % op.head_width) / op.head_width));
      const T cosine = std::cos(angle), sine = op.backward ? -std::sin(angle) : std::sin(angle);
      const T a = pair[0], b = pair[1];
      pair[0] = a * cosine - b * sine;
      pair[1] = a * sine + b * cosine;
    }
  });
}

template <class T>
void run(const Packing&, const op::CopyCache<Uniform<T>>& op) {
  const std::int64_t head = std::int64_t(op.length) * op.width, sequence = head * op.heads;
  for (const CacheCopy& copy : op.copies)
    for (int h = 0; h < op.heads; ++h)
      std::copy_n(op.slabs + copy.from * sequence + h * head, std::int64_t(copy.rows) * op.width,
                  op.slabs + copy.to * sequence + h * head);
}

}  // namespace fathom::inline FATHOM_ABI::ref
