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

template <class P, class T>
Compute<P> dot(const T* a, const T* b, int count) {
  using C = Compute<P>;
  Sum<P> sum(C(0));
  for (int i = 0; i < count; ++i) sum += C(a[i]) * C(b[i]);
  return C(sum);
}

/// Number of keys that query `row` of `rows` sees of `keys`.
inline int visible(bool causal, int row, int rows, int keys) { return causal ? row + 1 + keys - rows : keys; }

/// What is added to the score that head h gives to a key `distance` places before the query.
template <class P>
Compute<P> bias_of(const auto& op, int h, int distance) {
  if (!op.bias) return 0;
  return Compute<P>(op.bias.table[h * op.bias.buckets(op.causal) + op.bias.bucket(distance)]);
}

template <class P>
void run(const Packing&, const op::AttentionForward<P>& op) {
  using C = Compute<P>;
  using T = typename P::Activation;
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

        const int seen = visible(op.causal, i, rows, keys);
        Indexed<std::vector<C>> score(seen);
        for (int j = 0; j < seen; ++j)
          score[j] = C(op.scale) * dot<P>(q, row_of(op.k, op.cache.keys, head, j), op.head_width) +
                     bias_of<P>(op, h, i + keys - rows - j);
        const C largest = *std::max_element(score.begin(), score.end());
        Sum<P> sum(C(0));
        for (const C x : score) sum += std::exp(x - largest);
        const C log_sum_exp = largest + std::log(C(sum));

        Indexed<std::vector<Sum<P>>> o(op.head_width);
        for (int j = 0; j < seen; ++j) {
          const C probability =
              std::exp(score[j] - log_sum_exp) * factor<C>(op.dropout, s, h, op.packing->past_of(s) + i, j);
          const T* v = row_of(op.v, op.cache.values, head, j);
          for (int c = 0; c < op.head_width; ++c) o[c] += probability * C(v[c]);
        }
        for (int c = 0; c < op.head_width; ++c) store(op.o, first_row + i, query_column + c, C(o[c]));
        store(op.lse, h, first_row + i, log_sum_exp);
      }
  }
}

/// With probabilities p, dropout factors m and o_i = Σ_j m_ij p_ij v_j, given or summed here:
///   dv_j = Σ_i m_ij p_ij do_i;   dp_ij = m_ij do_i · v_j;   ds_ij = p_ij (dp_ij − Σ_k p_ik dp_ik) = p_ij (dp_ij − do_i
///   · o_i);   dq_i = scale Σ_j ds_ij k_j;   dk_j = scale Σ_i ds_ij q_i;   dbias_b = Σ of ds_ij in bucket b.
template <class P>
void run(const Packing&, const op::AttentionBackward<P>& op) {
  using C = Compute<P>;
  using T = typename P::Activation;
  for (const Matrix<T>& gradient : {op.dq, op.dk, op.dv})
    for (int n = 0; n < gradient.rows; ++n) std::fill_n(gradient.row(n), gradient.columns, T(0));
  Sums<Sum<P>, T> dq(op.dq), dk(op.dk), dv(op.dv);
  Sums<Sum<P>, typename P::Gradient> dbias(op.dbias);
  for (int s = 0; s < op.packing->sequences(); ++s) {
    const int rows = op.packing->length(s), keys = op.key_packing->length(s);
    for (int h = 0; h < op.heads; ++h)
      for (int i = 0; i < rows; ++i) {
        const int n = op.packing->offsets[s] + i;
        const int query_column = h * op.head_width, key_column = h / (op.heads / op.kv_heads) * op.head_width;
        const T* q = op.q.row(n) + query_column;
        const T* d_o = op.d_o.row(n) + query_column;
        const int seen = visible(op.causal, i, rows, keys), first_key = op.key_packing->offsets[s];
        const auto probability = [&](int j) {
          const T* k = op.k.row(first_key + j) + key_column;
          return std::exp(C(op.scale) * dot<P>(q, k, op.head_width) + bias_of<P>(op, h, i + keys - rows - j) -
                          C(op.lse.row(h)[n]));
        };
        if (op.restored) {
          Indexed<std::vector<Sum<P>>> o(op.head_width);
          for (int j = 0; j < seen; ++j) {
            const C weight = probability(j) * factor<C>(op.dropout, s, h, op.packing->past_of(s) + i, j);
            const T* v = op.v.row(first_key + j) + key_column;
            for (int c = 0; c < op.head_width; ++c) o[c] += weight * C(v[c]);
          }
          for (int c = 0; c < op.head_width; ++c) store(op.restored, n, query_column + c, C(o[c]));
        }
        const T* o = (op.restored ? op.restored.row(n) : op.o.row(n)) + query_column;
        const C delta = dot<P>(d_o, o, op.head_width);
        for (int j = 0; j < seen; ++j) {
          const int m = first_key + j;
          const T* k = op.k.row(m) + key_column;
          const T* v = op.v.row(m) + key_column;
          const C p = probability(j);
          const C keep = factor<C>(op.dropout, s, h, op.packing->past_of(s) + i, j);
          const C ds = p * (keep * dot<P>(d_o, v, op.head_width) - delta);
          if (!op.dbias.empty()) dbias[h * op.bias.buckets(op.causal) + op.bias.bucket(i + keys - rows - j)] += ds;
          for (int c = 0; c < op.head_width; ++c) {
            dv(m, key_column + c) += keep * p * C(d_o[c]);
            dq(n, query_column + c) += C(op.scale) * ds * C(k[c]);
            dk(m, key_column + c) += C(op.scale) * ds * C(q[c]);
          }
        }
      }
  }
  dq.round(), dk.round(), dv.round(), dbias.round();
}

template <class P>
void run(const Packing& packing, const op::Rotate<P>& op) {
  using C = Compute<P>;
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < op.x.columns; c += 2) {
      auto* pair = op.x.row(n) + c;
      const C angle = C(place.position * std::pow(op.base, -double(c % op.head_width) / op.head_width));
      const C cosine = std::cos(angle), sine = op.backward ? -std::sin(angle) : std::sin(angle);
      const C a = C(pair[0]), b = C(pair[1]);
      pair[0] = typename P::Activation(a * cosine - b * sine);
      pair[1] = typename P::Activation(a * sine + b * cosine);
    }
  });
}

template <class P>
void run(const Packing&, const op::CopyCache<P>& op) {
  const std::int64_t head = std::int64_t(op.length) * op.width, sequence = head * op.heads;
  for (const CacheCopy& copy : op.copies)
    for (int h = 0; h < op.heads; ++h)
      std::copy_n(op.slabs + copy.from * sequence + h * head, std::int64_t(copy.rows) * op.width,
                  op.slabs + copy.to * sequence + h * head);
}

}  // namespace fathom::inline FATHOM_ABI::ref
