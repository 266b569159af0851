// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/cpu/attention_bias.hpp>
#include <fathom/backend/cpu/attention_few.hpp>
#include <fathom/backend/cpu/attention_shape.hpp>
#include <fathom/backend/cpu/attention_tile.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/math.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <limits>
#include <type_traits>
#include <utility>

/// Attention of one sequence and one key/value head: O = softmax(scale · Q Kᵀ) V, without ever storing all scores. All
/// is computed in T; Q, K, V, O and their gradients may be stored otherwise (Stored).
///
/// A block of queries lies side by side in registers, so the row statistics of the softmax are plain vector operations
/// and every head width fills them. Keys are taken in blocks that stay in L1; a causal block stops at its diagonal.
/// Keys and values are first copied to packed rows, since at the stride of a [rows, (H + 2 Hkv) K] matrix they would
/// compete for a few sets of the cache. The backward pass forms the probabilities of a block of queries again from the
/// saved log-sum-exp (Dao et al. 2022, arXiv 2205.14135), with D = rowsum(dO ∘ O):
///   P = exp(scale · Q Kᵀ + bias - lse),  dV = Pᵀ dO,  dS = P ∘ (dO Vᵀ - D),  dQ = scale · dS K,  dK = scale · dSᵀ Q,
/// and the gradient of a bias is the sum of dS over the pairs that it is added to.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

namespace detail {

inline constexpr std::size_t forward_key_block = 128, backward_key_block = 64;

/// What the queries of one block may see.
template <class T>
class Visible {
 public:
  static constexpr std::size_t vectors = AttentionTile<T>::vectors;

  Visible(const AttentionShape<T>& shape, std::size_t query) {
    for (std::size_t v = 0; v < vectors; ++v) {
      const std::size_t first = query + v * simd_width<T>;
      open_[v] = visible_keys(shape, first);
      end_[v] = round_up(visible_keys(shape, first + simd_width<T> - 1), AttentionTile<T>::rows);
      const SimdBits<T> keys = SimdBits<T>{} + static_cast<Integer>(shape.keys);
      const auto offset = static_cast<Integer>(first + 1 + shape.keys - shape.queries);
      const SimdBits<T> seen = lane_numbers<T>() + offset;
      seen_[v] = shape.causal ? (seen < keys ? seen : keys) : keys;
    }
  }

  /// Keys below open(v) are seen by all elements of vector v, keys from end(v), a multiple of the tile's rows, by none.
  /// Neither decreases with v.
  std::size_t open(std::size_t v) const { return open_[v]; }
  std::size_t end(std::size_t v) const { return end_[v]; }
  std::size_t end() const { return end_[vectors - 1]; }

  /// x in the elements of vector v that see the key, `other` in those that do not.
  Simd<T> select(std::size_t v, std::size_t key, Simd<T> x, T other) const {
    return seen_[v] > static_cast<Integer>(key) ? x : broadcast(other);
  }

  /// f(std::integral_constant<n>, first, from, to): keys [from, to) of [begin, end) concern the n last vectors,
  /// first = vectors - n and on.
  template <class F>
  void each_segment(std::size_t begin, std::size_t end, F f) const {
    [&]<std::size_t... First>(std::index_sequence<First...>) {
      std::size_t from = begin;
      const auto segment = [&](auto count, std::size_t first) {
        const std::size_t to = std::min(end, end_[first]);
        if (from < to) f(count, first, from, to);
        from = std::max(from, to);
      };
      (segment(std::integral_constant<std::size_t, vectors - First>{}, First), ...);
    }
    (std::make_index_sequence<vectors>{});
  }

 private:
  using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  SimdBits<T> seen_[vectors];  // how many keys each element sees
  std::size_t open_[vectors], end_[vectors];
};

/// Sizes of the buffers of a call.
template <class T>
struct AttentionExtents {
  static constexpr std::size_t queries = AttentionTile<T>::queries;
  std::size_t keys, width, register_width;  // padded to whole tiles, tiles, and registers

  constexpr explicit AttentionExtents(const AttentionShape<T>& shape)
      : keys(round_up(shape.keys, AttentionTile<T>::rows)),
        width(round_up(shape.width, AttentionTile<T>::rows)),
        register_width(round_up(shape.width, simd_width<T>)) {}
};

/// scores (keys from `begin`, queries) = keys · columns, for the keys of [begin, end) that each vector sees.
template <class T>
void score(const Visible<T>& visible, std::size_t begin, std::size_t end, std::size_t width, const T* keys,
           std::size_t key_stride, const T* columns, T* scores) {
  using Tile = AttentionTile<T>;
  visible.each_segment(begin, end, [&](auto vectors, std::size_t first, std::size_t from, std::size_t to) {
    for (std::size_t j = from; j < to; j += Tile::rows)
      multiply<false, Tile::rows, vectors()>(
          width, AlongRows<T>{keys + j * key_stride, key_stride}, columns + first * simd_width<T>, Tile::queries,
          scores + (j - begin) * Tile::queries + first * simd_width<T>, Tile::queries);
  });
}

/// columns (width, queries) += the sum of values weighted by `weights` (keys from `begin`, queries).
template <class T>
void gather(const Visible<T>& visible, std::size_t begin, std::size_t end, std::size_t width, const T* values,
            const T* weights, T* columns) {
  using Tile = AttentionTile<T>;
  visible.each_segment(begin, end, [&](auto vectors, std::size_t first, std::size_t from, std::size_t to) {
    for (std::size_t d = 0; d < width; d += Tile::rows)
      multiply<true, Tile::rows, vectors()>(to - from, AlongColumns<T>{values + from * width + d, width},
                                            weights + (from - begin) * Tile::queries + first * simd_width<T>,
                                            Tile::queries, columns + d * Tile::queries + first * simd_width<T>,
                                            Tile::queries);
  });
}

/// sums (keys, width) += the sum of rows (queries, width) weighted by `weights` (keys from `begin`, queries).
template <class T>
void scatter(const Visible<T>& visible, std::size_t begin, std::size_t end, std::size_t width, const T* rows,
             const T* weights, T* sums) {
  using Tile = AttentionTile<T>;
  visible.each_segment(begin, end, [&](auto vectors, std::size_t first, std::size_t from, std::size_t to) {
    const std::size_t query = first * simd_width<T>;
    for (std::size_t j = from; j < to; j += Tile::rows) {
      const AlongFixedRows<Tile::queries, T> weight{weights + (j - begin) * Tile::queries + query};
      std::size_t d = 0;
      for (; d + 2 * simd_width<T> <= width; d += 2 * simd_width<T>)
        multiply<true, Tile::rows, 2>(vectors * simd_width<T>, weight, rows + query * width + d, width,
                                      sums + j * width + d, width);
      if (d < width)
        multiply<true, Tile::rows, 1>(vectors * simd_width<T>, weight, rows + query * width + d, width,
                                      sums + j * width + d, width);
    }
  });
}

/// scores (keys from `begin`, queries) += their bias; `bias` is that of the first query and key 0.
template <class T>
void add_bias(const Visible<T>& visible, std::size_t begin, std::size_t end, const T* bias, T* scores) {
  for (std::size_t v = 0; v < AttentionTile<T>::vectors; ++v)
    for (std::size_t j = begin; j < std::min(end, visible.end(v)); ++j) {
      T* score = scores + (j - begin) * AttentionTile<T>::queries + v * simd_width<T>;
      store(score, load(score) + load(bias + v * simd_width<T> - j));
    }
}

/// sums (as the bias) += the slopes (keys from `begin`, queries) of each place.
template <class T>
void sum_by_distance(const Visible<T>& visible, std::size_t begin, std::size_t end, const T* slopes, T* sums) {
  for (std::size_t v = 0; v < AttentionTile<T>::vectors; ++v)
    for (std::size_t j = begin; j < std::min(end, visible.end(v)); ++j) {
      T* sum = sums + v * simd_width<T> - j;
      store(sum, load(sum) + load(slopes + (j - begin) * AttentionTile<T>::queries + v * simd_width<T>));
    }
}

/// f(key, drop) for the keys of [from, to): drop(x) is x with the dropout of that key and the queries from `query` on.
template <class T, class Dropout, class F>
[[gnu::always_inline]] inline void each_key(const Dropout& dropout, std::size_t head, std::size_t query,
                                            std::size_t from, std::size_t to, F f) {
  if constexpr (Dropout::active) {
    T factors[4 * simd_width<T>];
    for (std::size_t key = from / 4 * 4; key < to; key += 4) {
      dropout(head, query, key, factors);
      for (std::size_t c = key < from ? from - key : 0; c < 4 && key + c < to; ++c)
        f(key + c, [&](Simd<T> x) { return x * load(factors + c * simd_width<T>); });
    }
  } else {
    for (std::size_t key = from; key < to; ++key) f(key, [](Simd<T> x) { return x; });
  }
}

}  // namespace detail

/// How many T the scratch of attention_forward needs.
template <class T>
constexpr std::size_t attention_forward_scratch(const AttentionShape<T>& shape) {
  const detail::AttentionExtents<T> n(shape);
  return std::max(detail::few_queries_scratch(shape),
                  2 * n.keys * n.width + (n.width + shape.width + detail::forward_key_block + 1) * n.queries);
}

/// O and lse, the natural logarithm of the sum of e^score of each query: OVERWRITTEN.
///
/// Q and O: (queries, group · width); K and V: (keys, width); lse: row i of head g at lse.data[g · lse.stride + i].
/// Up to `few_queries` queries, as a decoder has them, read K and V in place and once.
/// A query that sees no key gets O = 0 and lse = -∞. `scratch`: attention_forward_scratch(shape) numbers.
template <class T, class Stored = T, class Dropout = NoDropout>
void attention_forward(const AttentionShape<T>& shape, RowMajor<const Stored> q, RowMajor<const Stored> k,
                       RowMajor<const Stored> v, RowMajor<Stored> o, RowMajor<T> lse, T* scratch,
                       const Dropout& dropout = {}) {
  using detail::AttentionTile;
  if constexpr (!Dropout::active)
    if (shape.queries <= detail::few_queries) return detail::attend_few_queries(shape, q, k, v, o, lse, scratch);
  constexpr std::size_t queries = AttentionTile<T>::queries, block = detail::forward_key_block;
  constexpr T lowest = std::numeric_limits<T>::lowest(), infinity = std::numeric_limits<T>::infinity();
  const detail::AttentionExtents<T> n(shape);
  const BiasPlaces<T> places(shape);
  T* keys = scratch;
  T* values = keys + n.keys * n.width;
  T* query_columns = values + n.keys * n.width;
  T* out_columns = query_columns + shape.width * queries;
  T* scores = out_columns + n.width * queries;
  T* factors = scores + block * queries;
  detail::pack_rows(shape.keys, shape.width, k.data, k.stride, T(1), n.keys, n.width, keys);
  detail::pack_rows(shape.keys, shape.width, v.data, v.stride, T(1), n.keys, n.width, values);

  for (std::size_t head = 0; head < shape.group; ++head)
    for (std::size_t query = 0; query < shape.queries; query += queries) {
      const std::size_t count = std::min(shape.queries - query, queries);
      const detail::Visible<T> visible(shape, query);
      detail::to_columns(count, shape.width, q.data + query * q.stride + head * shape.width, q.stride,
                         shape.scale * detail::log2_e<T>, query_columns);
      std::fill_n(out_columns, n.width * queries, T(0));
      Simd<T> greatest[AttentionTile<T>::vectors], sum[AttentionTile<T>::vectors];
      for (std::size_t i = 0; i < AttentionTile<T>::vectors; ++i) greatest[i] = broadcast(lowest), sum[i] = Simd<T>{};

      for (std::size_t begin = 0; begin < visible.end(); begin += block) {
        const std::size_t end = std::min(begin + block, visible.end());
        detail::score(visible, begin, end, shape.width, keys, n.width, query_columns, scores);
        if (shape.bias != nullptr)
          detail::add_bias(visible, begin, end, shape.bias + head * places.count + places.first_key(query), scores);
        for (std::size_t i = 0; i < AttentionTile<T>::vectors; ++i) {
          T* column = scores + i * simd_width<T>;
          const std::size_t to = std::max(begin, std::min(end, visible.end(i)));
          const std::size_t open = std::clamp(visible.open(i), begin, to);
          Simd<T> top = greatest[i];
          for (std::size_t j = begin; j < open; ++j) top = max(load(column + (j - begin) * queries), top);
          for (std::size_t j = open; j < to; ++j) {
            const Simd<T> s = visible.select(i, j, load(column + (j - begin) * queries), -infinity);
            store(column + (j - begin) * queries, s);
            top = max(s, top);
          }
          // `top` is finite even where nothing is seen yet, so that e^(-∞ - top) is 0 and not NaN.
          const Simd<T> fade = exp2(greatest[i] - top);
          Simd<T> total = sum[i] * fade;
          detail::each_key<T>(dropout, head, query + i * simd_width<T>, begin, to, [&](std::size_t j, auto drop) {
            const Simd<T> p = exp2(load(column + (j - begin) * queries) - top);
            total += p;
            store(column + (j - begin) * queries, drop(p));
          });
          if (begin > 0)
            for (std::size_t d = 0; d < n.width; ++d) {
              T* out = out_columns + d * queries + i * simd_width<T>;
              store(out, load(out) * fade);
            }
          greatest[i] = top;
          sum[i] = total;
        }
        detail::gather(visible, begin, end, n.width, values, scores, out_columns);
      }

      for (std::size_t i = 0; i < AttentionTile<T>::vectors && i * simd_width<T> < count; ++i) {
        store(factors + i * simd_width<T>, sum[i] == T(0) ? Simd<T>{} : T(1) / sum[i]);
        store_first(lse.data + head * lse.stride + query + i * simd_width<T>,
                    greatest[i] * (1 / detail::log2_e<T>)+log(sum[i]),
                    std::min(count - i * simd_width<T>, simd_width<T>));
      }
      detail::to_rows(count, shape.width, out_columns, factors, o.data + query * o.stride + head * shape.width,
                      o.stride);
    }
}

/// How many T the scratch of attention_backward needs.
template <class T>
constexpr std::size_t attention_backward_scratch(const AttentionShape<T>& shape) {
  const detail::AttentionExtents<T> n(shape);
  return 2 * n.keys * (n.width + n.register_width + n.queries) +
         (2 * shape.width + 2 * n.width + 2 * n.register_width + detail::backward_key_block + 2) * n.queries;
}

/// O for the backward pass, one of two: what forward gave, or rows to be OVERWRITTEN with it, up to rounding, at the
/// price of one more product.
template <class T>
struct AttentionOutput {
  RowMajor<const T> given{};
  RowMajor<T> restored{};
};

/// dQ, dK, dV of attention_forward with the same arguments: all OVERWRITTEN; dK and dV are sums over the group, in the
/// order of its heads. dbias, as shape.bias, ADDED TO, or null: the gradient of each place. `scratch`:
/// attention_backward_scratch(shape) numbers.
template <class T, class Stored = T, class Dropout = NoDropout>
void attention_backward(const AttentionShape<T>& shape, RowMajor<const Stored> q, RowMajor<const Stored> k,
                        RowMajor<const Stored> v, AttentionOutput<Stored> o, RowMajor<const T> lse,
                        RowMajor<const Stored> d_o, RowMajor<Stored> dq, RowMajor<Stored> dk, RowMajor<Stored> dv,
                        T* dbias, T* scratch, const Dropout& dropout = {}) {
  using detail::AttentionTile;
  constexpr std::size_t queries = AttentionTile<T>::queries, block = detail::backward_key_block;
  const detail::AttentionExtents<T> n(shape);
  const BiasPlaces<T> places(shape);
  T* keys = scratch;
  T* values = keys + n.keys * n.width;
  T* key_sums = values + n.keys * n.width;
  T* value_sums = key_sums + n.keys * n.register_width;
  T* probabilities = value_sums + n.keys * n.register_width;
  T* weights = Dropout::active ? probabilities + n.keys * queries : probabilities;  // probabilities after dropout
  T* query_columns = probabilities + 2 * n.keys * queries;
  T* do_columns = query_columns + shape.width * queries;
  T* o_columns = do_columns + shape.width * queries;
  T* dq_columns = o_columns + n.width * queries;
  T* query_rows = dq_columns + n.width * queries;
  T* do_rows = query_rows + n.register_width * queries;
  T* slopes = do_rows + n.register_width * queries;
  T* log_sums = slopes + block * queries;
  T* factors = log_sums + queries;
  detail::pack_rows(shape.keys, shape.width, k.data, k.stride, T(1), n.keys, n.width, keys);
  detail::pack_rows(shape.keys, shape.width, v.data, v.stride, T(1), n.keys, n.width, values);
  std::fill_n(key_sums, 2 * n.keys * n.register_width, T(0));

  for (std::size_t head = 0; head < shape.group; ++head)
    for (std::size_t query = 0; query < shape.queries; query += queries) {
      const std::size_t count = std::min(shape.queries - query, queries), column = head * shape.width;
      const detail::Visible<T> visible(shape, query);
      const Stored* q_rows = q.data + query * q.stride + column;
      const Stored* d_o_rows = d_o.data + query * d_o.stride + column;
      detail::to_columns(count, shape.width, q_rows, q.stride, shape.scale * detail::log2_e<T>, query_columns);
      detail::to_columns(count, shape.width, d_o_rows, d_o.stride, T(1), do_columns);
      detail::pack_rows(count, shape.width, q_rows, q.stride, shape.scale, queries, n.register_width, query_rows);
      detail::pack_rows(count, shape.width, d_o_rows, d_o.stride, T(1), queries, n.register_width, do_rows);
      std::fill_n(dq_columns, n.width * queries, T(0));
      // Elements without a query have zeros in every operand, and probabilities of 0: they contribute nothing.
      std::fill_n(log_sums, queries, std::numeric_limits<T>::infinity());
      sweep<T>(count,
               [&](auto at) { at.store(log_sums, at.load(lse.data + head * lse.stride + query) * detail::log2_e<T>); });

      detail::score(visible, 0, visible.end(), shape.width, keys, n.width, query_columns, probabilities);
      const std::size_t place = head * places.count + places.first_key(query);
      if (shape.bias != nullptr) detail::add_bias(visible, 0, visible.end(), shape.bias + place, probabilities);
      for (std::size_t i = 0; i < AttentionTile<T>::vectors; ++i) {
        const Simd<T> log_sum = load(log_sums + i * simd_width<T>);
        const std::size_t open = std::min(visible.open(i), visible.end(i));
        const auto probability = [&](std::size_t j) {
          return exp2(load(probabilities + j * queries + i * simd_width<T>) - log_sum);
        };
        const auto keep = [&](std::size_t j, Simd<T> p, auto drop) {
          store(probabilities + j * queries + i * simd_width<T>, p);
          if constexpr (Dropout::active) store(weights + j * queries + i * simd_width<T>, drop(p));
        };
        const std::size_t first = query + i * simd_width<T>;
        detail::each_key<T>(dropout, head, first, 0, open,
                            [&](std::size_t j, auto drop) { keep(j, probability(j), drop); });
        detail::each_key<T>(dropout, head, first, open, visible.end(i),
                            [&](std::size_t j, auto drop) { keep(j, visible.select(i, j, probability(j), 0), drop); });
      }

      if (o.restored.data != nullptr) {
        std::fill_n(o_columns, n.width * queries, T(0));
        detail::gather(visible, 0, visible.end(), n.width, values, weights, o_columns);
        std::fill_n(factors, queries, T(1));
        detail::to_rows(count, shape.width, o_columns, factors, o.restored.data + query * o.restored.stride + column,
                        o.restored.stride);
      } else {
        detail::to_columns(count, shape.width, o.given.data + query * o.given.stride + column, o.given.stride, T(1),
                           o_columns);
      }
      Simd<T> product[AttentionTile<T>::vectors] = {};  // rowsum(dO ∘ O)
      for (std::size_t d = 0; d < shape.width; ++d)
        for (std::size_t i = 0; i < AttentionTile<T>::vectors; ++i) {
          const std::size_t at = d * queries + i * simd_width<T>;
          product[i] = fma(load(do_columns + at), load(o_columns + at), product[i]);
        }

      for (std::size_t begin = 0; begin < visible.end(); begin += block) {
        const std::size_t end = std::min(begin + block, visible.end());
        detail::score(visible, begin, end, shape.width, values, n.width, do_columns, slopes);
        for (std::size_t i = 0; i < AttentionTile<T>::vectors; ++i) {
          const std::size_t to = std::max(begin, std::min(end, visible.end(i)));
          for (std::size_t j = begin; j < to; ++j) {
            T* slope = slopes + (j - begin) * queries + i * simd_width<T>;
            const std::size_t at = j * queries + i * simd_width<T>;
            const Simd<T> p = load(probabilities + at);
            store(slope,
                  Dropout::active ? load(weights + at) * load(slope) - p * product[i] : p * (load(slope) - product[i]));
          }
        }
        if (dbias != nullptr) detail::sum_by_distance(visible, begin, end, slopes, dbias + place);
        detail::gather(visible, begin, end, n.width, keys, slopes, dq_columns);
        detail::scatter(visible, begin, end, n.register_width, do_rows, weights + begin * queries, value_sums);
        detail::scatter(visible, begin, end, n.register_width, query_rows, slopes, key_sums);
      }
      std::fill_n(factors, queries, shape.scale);
      detail::to_rows(count, shape.width, dq_columns, factors, dq.data + query * dq.stride + column, dq.stride);
    }

  detail::copy_rows(shape.keys, shape.width, key_sums, n.register_width, T(1), dk.data, dk.stride);
  detail::copy_rows(shape.keys, shape.width, value_sums, n.register_width, T(1), dv.data, dv.stride);
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
