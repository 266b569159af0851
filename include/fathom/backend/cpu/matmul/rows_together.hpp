// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/upcoming.hpp"
#include "fathom/backend/cpu/shuffle.hpp"
#include "fathom/backend/cpu/simd.hpp"

/// Products of some rows with W read in place. A register holds a chunk (16 bytes) of each of a few rows of x, and one
/// chunk of W, broadcast, multiplies them all; so what is summed up at the end is `chunk` numbers for each result, not
/// a whole register.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail {

/// Rows of x in one register.
template <class T>
inline constexpr std::size_t rows_together = simd_width<T> / chunk<T>;

/// Two registers of rows and so many columns of W: their sums stay in the registers.
inline constexpr std::size_t groups_together = 2, columns_together = FATHOM_SIMD_BITS == 512 ? 8 : 4;

/// What a packed x (m, k) takes: whole registers of rows and whole chunks.
template <class T>
constexpr std::size_t packed_rows_size(std::size_t m, std::size_t k) {
  const auto whole = [](std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; };
  return whole(m, rows_together<T>) * whole(k, chunk<T>);
}

/// x (m, k) as chunks: the first of every row, then the second of every row … Zeros beyond its rows and columns.
template <class T>
void pack_rows_together(std::size_t m, std::size_t k, RowMajor<const T> x, T* packed) {
  const std::size_t step = packed_rows_size<T>(m, 1);
  if (packed_rows_size<T>(m, k) != m * k) std::fill_n(packed, packed_rows_size<T>(m, k), T(0));
  for (std::size_t i = 0; i < m; ++i) {
    const T* from = x.row(i);
    T* to = packed + i * chunk<T>;
    std::size_t p = 0;
    for (; p + chunk<T> <= k; p += chunk<T>, to += step) std::memcpy(to, from + p, chunk<T> * sizeof(T));
    std::copy(from + p, from + k, to);
  }
}

/// The chunks of v into rows of y: all of them, or the first `columns` numbers of the first `rows`.
template <class T>
[[gnu::always_inline]] inline void store_chunks(Simd<T> v, RowMajor<T> y) {
  [&]<std::size_t... Each>(std::index_sequence<Each...>) { (store_chunk<Each>(y.row(Each), v), ...); }
  (std::make_index_sequence<rows_together<T>>{});
}
template <class T>
void store_chunks(Simd<T> v, std::size_t rows, std::size_t columns, RowMajor<T> y) {
  T numbers[simd_width<T>];
  store(numbers, v);
  for (std::size_t i = 0; i < std::min(rows, rows_together<T>); ++i)
    if (columns == chunk<T>)
      std::memcpy(y.row(i), numbers + i * chunk<T>, chunk<T> * sizeof(T));
    else
      std::copy_n(numbers + i * chunk<T>, columns, y.row(i));
}

/// y(i, j) = x row i · w row j + bias[j] for i < rows <= Groups·rows_together and j < columns <= columns_together.
/// x is packed, the chunks of one row `step` numbers apart. Meanwhile the rows of W behind these are fetched.
template <std::size_t Groups, class T>
[[gnu::always_inline]] inline void multiply_together(std::size_t rows, std::size_t columns, std::size_t k, const T* x,
                                                     std::size_t step, RowMajor<const T> w, const T* bias,
                                                     RowMajor<T> y) {
  constexpr std::size_t width = columns_together;
  Simd<T> sum[Groups][width];
  const T* w_rows[width];
#pragma GCC unroll 16
  for (std::size_t j = 0; j < width; ++j) {
    w_rows[j] = w.row(j < columns ? j : 0);
#pragma GCC unroll 16
    for (std::size_t g = 0; g < Groups; ++g) sum[g][j] = Simd<T>{};
  }
  const auto add = [&](const T* chunks, auto weight_of) __attribute__((always_inline)) {
    Simd<T> input[Groups];
#pragma GCC unroll 16
    for (std::size_t g = 0; g < Groups; ++g) input[g] = load(chunks + g * simd_width<T>);
#pragma GCC unroll 16
    for (std::size_t j = 0; j < width; ++j) {
      Simd<T> weight = weight_of(w_rows[j]);
      keep_in_register(weight);
#pragma GCC unroll 16
      for (std::size_t g = 0; g < Groups; ++g) sum[g][j] = fma(input[g], weight, sum[g][j]);
    }
  };

  constexpr std::size_t line = cache_line<T>;
  std::size_t p = 0;
  for (; p + line <= k; p += line) {
#pragma GCC unroll 16
    for (std::size_t j = 0; j < width; ++j) __builtin_prefetch(w_rows[j] + p + width * w.stride);
#pragma GCC unroll 16
    for (std::size_t c = 0; c < line; c += chunk<T>, x += step)
      add(x, [&](const T* row) { return broadcast_chunk(row + p + c); });
  }
  for (; p + chunk<T> <= k; p += chunk<T>, x += step) add(x, [&](const T* row) { return broadcast_chunk(row + p); });
  if (p < k) add(x, [&](const T* row) { return broadcast_chunk(row + p, k - p); });

  const bool whole = rows >= Groups * rows_together<T> && columns == width;
#pragma GCC unroll 16
  for (std::size_t j = 0; j < width; j += chunk<T>) {
    if (j >= columns) break;
    const std::size_t count = std::min(columns - j, chunk<T>);
    Simd<T> first{};
    if (bias) first = broadcast_chunk(bias + j, count);
#pragma GCC unroll 16
    for (std::size_t g = 0; g < Groups; ++g) {
      Simd<T> sums[chunk<T>];
#pragma GCC unroll 16
      for (std::size_t c = 0; c < chunk<T>; ++c) sums[c] = sum[g][j + c];
      const RowMajor<T> results{y.row(g * rows_together<T>) + j, y.stride};
      if (whole)
        store_chunks(first + chunk_sums<T>(sums), results);
      else if (rows > g * rows_together<T>)
        store_chunks(first + chunk_sums<T>(sums), rows - g * rows_together<T>, count, results);
    }
  }
}

/// The rows that are packed at once.
inline constexpr std::size_t most_together = 16;

/// What `forward_together` needs.
template <class T>
constexpr std::size_t forward_together_scratch(MatmulSize largest) {
  return packed_rows_size<T>(std::min(largest.m, most_together), largest.k);
}

/// Y[m,n] = X[m,k]·W[n,k]ᵀ + bias[n]; a null bias is zero. Each sum is `chunk` chains of fma, whatever m and n are.
template <class T>
void forward_together(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<T> y, T* scratch) {
  constexpr std::size_t height = groups_together * rows_together<T>;
  for (std::size_t first = 0; first < size.m; first += most_together) {
    const std::size_t rows = std::min(size.m - first, most_together), step = packed_rows_size<T>(rows, 1);
    pack_rows_together<T>(rows, size.k, {x.row(first), x.stride}, scratch);
    for (std::size_t j = 0; j < size.n; j += columns_together) {  // all rows at once: W comes from memory once
      const std::size_t columns = std::min(size.n - j, columns_together);
      const auto multiply = [&]<std::size_t Groups>(std::size_t i, std::integral_constant<std::size_t, Groups>)
          __attribute__((always_inline)) {
        multiply_together<Groups, T>(rows - i, columns, size.k, scratch + i * chunk<T>, step, {w.row(j), w.stride},
                                     bias ? bias + j : nullptr, {y.row(first + i) + j, y.stride});
      };
      std::size_t i = 0;
      for (; i + rows_together<T> < rows; i += height)
        multiply(i, std::integral_constant<std::size_t, groups_together>{});
      if (i < rows) multiply(i, std::integral_constant<std::size_t, 1>{});
    }
  }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail
