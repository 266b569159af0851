// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fathom/backend/cpu/attention_bias.hpp>
#include <fathom/backend/cpu/attention_shape.hpp>
#include <fathom/backend/cpu/attention_tile.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/math.hpp>
#include <fathom/backend/cpu/shuffle.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <limits>

/// Attention of a few queries to many keys, as in decoding with a key/value cache. Keys and values are read in place
/// and once, for all query heads of the group; the columns of the head lie side by side in registers. As these rows are read
/// those of the next call are fetched, a line for each register: they are in no cache, and a burst of requests would
/// wait.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail {

inline constexpr std::size_t few_queries = 8;  // about where blocks of queries become as fast
inline constexpr std::size_t few_queries_key_block = 64;

/// products[i] = the inner product of a and row i of b (count, width); zero up to a whole register. Fetches as much
/// from `next` on.
template <class T, class Stored>
void row_products(std::size_t count, std::size_t width, const T* a, const Stored* b, std::size_t stride,
                  const Stored* next, T* products) {
  for (std::size_t begin = 0; begin < count; begin += simd_width<T>, b += simd_width<T> * stride) {
    Simd<T> sum[simd_width<T>];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < simd_width<T>; ++i) sum[i] = Simd<T>{};
    const std::size_t rows = std::min(count - begin, simd_width<T>);
    sweep<T>(width, [&](auto place) {
      const Simd<T> x = place.load(a);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < simd_width<T>; ++i)
        if (i < rows) {
          __builtin_prefetch(next + i * simd_width<T>);
          sum[i] = fma(x, place.load(b + i * stride), sum[i]);
        }
      next += rows * simd_width<T>;
    });
    store(products + begin, horizontal_sums<T>(sum));
  }
}

/// The state of one query: itself, its weighted sum of values, and the statistics of its softmax so far.
template <class T>
struct FewQueriesExtents {
  std::size_t rows, width;

  constexpr explicit FewQueriesExtents(const AttentionShape<T>& shape)
      : rows(shape.group * std::min(shape.queries, few_queries)), width(round_up(shape.width, simd_width<T>)) {}
};

template <class T>
constexpr std::size_t few_queries_scratch(const AttentionShape<T>& shape) {
  const FewQueriesExtents<T> n(shape);
  return few_queries_key_block + n.rows * (2 * n.width + 2);
}

/// As attention_forward.
template <class T, class Stored>
void attend_few_queries(const AttentionShape<T>& shape, RowMajor<const Stored> q, RowMajor<const Stored> k,
                        RowMajor<const Stored> v, RowMajor<Stored> o, RowMajor<T> lse, T* scratch) {
  constexpr std::size_t block = few_queries_key_block;
  const FewQueriesExtents<T> n(shape);
  const BiasPlaces<T> places(shape);
  T* scores = scratch;
  T* queries = scores + block;
  T* outs = queries + n.rows * n.width;
  T* greatest = outs + n.rows * n.width;
  T* sums = greatest + n.rows;
  std::fill_n(outs, n.rows * n.width, T(0));
  std::fill_n(greatest, n.rows, std::numeric_limits<T>::lowest());
  std::fill_n(sums, n.rows, T(0));
  for (std::size_t row = 0; row < n.rows; ++row)
    copy_rows(1, shape.width, q.data + row % shape.queries * q.stride + row / shape.queries * shape.width, 0,
              shape.scale * log2_e<T>, queries + row * n.width, 0);

  for (std::size_t begin = 0; begin < shape.keys; begin += block)
    for (std::size_t row = 0; row < n.rows; ++row) {
      const std::size_t end = std::min(begin + block, visible_keys(shape, row % shape.queries));
      if (end <= begin) continue;
      const std::size_t count = end - begin;
      const Stored* keys = k.data + begin * k.stride;
      row_products(count, shape.width, queries + row * n.width, keys, k.stride, keys + shape.ahead, scores);
      if (shape.bias != nullptr) {
        const std::size_t query = row % shape.queries, head = row / shape.queries;
        const T* bias = shape.bias + head * places.count + places.first_key(query) - begin;
        for (std::size_t j = 0; j < count; ++j) scores[j] += *(bias - j);
      }

      constexpr T lowest = std::numeric_limits<T>::lowest();
      Simd<T> high = broadcast(lowest), total{};
      sweep<T>(count, [&](auto place) { high = max(place.select(place.load(scores), lowest), high); });
      const T top = std::max(greatest[row], horizontal_max(high)), fade = std::exp2(greatest[row] - top);
      sweep<T>(count, [&](auto place) {
        const Simd<T> p = place.select(exp2(place.load(scores) - top), 0);
        place.store(scores, p);
        total += p;
      });
      greatest[row] = top;
      sums[row] = sums[row] * fade + horizontal_sum(total);

      T* out = outs + row * n.width;
      const Stored *values = v.data + begin * v.stride, *next = values + shape.ahead;
      sweep<T>(shape.width, [&](auto place) {
        Simd<T> even = place.load(out) * fade, odd{};
        std::size_t j = 0;
        for (; j + 1 < count; j += 2, next += 2 * simd_width<T>) {
          __builtin_prefetch(next);
          __builtin_prefetch(next + simd_width<T>);
          even = fma(broadcast(scores[j]), place.load(values + j * v.stride), even);
          odd = fma(broadcast(scores[j + 1]), place.load(values + (j + 1) * v.stride), odd);
        }
        if (j < count) even = fma(broadcast(scores[j]), place.load(values + j * v.stride), even);
        place.store(out, even + odd);
      });
    }

  for (std::size_t row = 0; row < n.rows; ++row) {
    const std::size_t query = row % shape.queries, head = row / shape.queries;
    copy_rows(1, shape.width, outs + row * n.width, 0, sums[row] == 0 ? T(0) : 1 / sums[row],
              o.data + query * o.stride + head * shape.width, 0);
    lse.data[head * lse.stride + query] = greatest[row] / log2_e<T> + std::log(sums[row]);
  }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail
