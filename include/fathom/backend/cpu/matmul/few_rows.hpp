// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/rows_together.hpp"
#include "fathom/backend/cpu/shuffle.hpp"
#include "fathom/backend/cpu/simd.hpp"

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail {

/// How far ahead of its use W is asked for, in numbers: far enough for the way from memory. The next matrix of a block
/// lies behind this one, so the stream goes on there; where nothing lies, asking does nothing.
template <class T>
inline constexpr std::size_t fetched_ahead = 32768 / sizeof(T);

/// sum(i, j) += read(x row i from p) ⊙ read(w row j from p).
template <std::size_t Rows, std::size_t Columns, class T, class Read>
[[gnu::always_inline]] inline void add_products(Read read, RowMajor<const T> x, RowMajor<const T> w, std::size_t p,
                                                Simd<T> (&sum)[Rows][Columns]) {
  Simd<T> weights[Columns];
#pragma GCC unroll 16
  for (std::size_t j = 0; j < Columns; ++j) {
    weights[j] = read(w.row(j) + p);
    keep_in_register(weights[j]);
    __builtin_prefetch(w.row(j) + p + fetched_ahead<T>, 0, 2);
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i) {
    Simd<T> input = read(x.row(i) + p);
    keep_in_register(input);
#pragma GCC unroll 16
    for (std::size_t j = 0; j < Columns; ++j) sum[i][j] = fma(input, weights[j], sum[i][j]);
  }
}

/// y(i, j) = x row i · w row j + bias[j] for i < Rows and j < Columns, each with one vector of partial sums.
template <std::size_t Rows, std::size_t Columns, class T>
void dot_products(std::size_t k, RowMajor<const T> x, RowMajor<const T> w, const T* bias, RowMajor<T> y) {
  Simd<T> sum[Rows][Columns];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (std::size_t j = 0; j < Columns; ++j) sum[i][j] = Simd<T>{};
  const std::size_t whole = k - k % simd_width<T>;
  for (std::size_t p = 0; p < whole; p += simd_width<T>)
    add_products([](const T* from) { return load(from); }, x, w, p, sum);
  if (whole < k) add_products([&](const T* from) { return load_first(from, k - whole); }, x, w, whole, sum);

  // In whole groups of `simd_width`, whose horizontal sums are taken together; sums beyond the last are zero.
  constexpr std::size_t group = simd_width<T>, groups = (Rows * Columns + group - 1) / group;
  T total[groups * group];
#pragma GCC unroll 16
  for (std::size_t first = 0; first < groups * group; first += group) {
    Simd<T> some[group];
#pragma GCC unroll 16
    for (std::size_t n = 0; n < group; ++n)
      some[n] = first + n < Rows * Columns ? sum[(first + n) / Columns][(first + n) % Columns] : Simd<T>{};
    store(total + first, horizontal_sums<T>(some));
  }
  using Row [[gnu::vector_size(Columns * sizeof(T))]] = T;
  Row first{};
  if (bias) std::memcpy(&first, bias, sizeof first);
#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i) {
    Row row;
    std::memcpy(&row, total + i * Columns, sizeof row);
    row += first;
    std::memcpy(y.row(i), &row, sizeof row);
  }
}

/// Columns columns of all rows, so that these rows of W are read from memory once.
template <std::size_t Columns, class T>
void few_columns(std::size_t m, std::size_t k, RowMajor<const T> x, RowMajor<const T> w, const T* bias, RowMajor<T> y) {
  std::size_t i = 0;
  const auto step = [&]<std::size_t Rows>(std::integral_constant<std::size_t, Rows>) {
    dot_products<Rows, Columns>(k, {x.row(i), x.stride}, w, bias, RowMajor<T>{y.row(i), y.stride});
    i += Rows;
  };
  if constexpr (Columns <= 4)
    while (m - i >= 2) step(std::integral_constant<std::size_t, 2>{});
  while (m > i) step(std::integral_constant<std::size_t, 1>{});
}

/// Fewest rows that are multiplied together; fewer would leave much of a register empty.
inline constexpr std::size_t fewest_together = 4;

/// See Native::forward_few_rows.
template <class T>
void forward_few_rows(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<T> y, T* scratch) {
  if (size.m >= fewest_together) return forward_together(size, x, w, bias, y, scratch);
  constexpr std::size_t wide = simd_width<T> < 8 ? 8 : simd_width<T>;
  std::size_t j = 0;
  const auto step = [&]<std::size_t Columns>(std::integral_constant<std::size_t, Columns>) {
    few_columns<Columns, T>(size.m, size.k, x, {w.row(j), w.stride}, bias ? bias + j : nullptr, {y.data + j, y.stride});
    j += Columns;
  };
  if (size.m == 1)  // many independent sums keep the multipliers busy: here that takes many columns
    while (size.n - j >= wide) step(std::integral_constant<std::size_t, wide>{});
  while (size.n - j >= 4) step(std::integral_constant<std::size_t, 4>{});
  while (j < size.n) step(std::integral_constant<std::size_t, 1>{});
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail
