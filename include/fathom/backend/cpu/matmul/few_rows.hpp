// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/simd.hpp"

namespace fathom::inline FATHOM_ABI::cpu::detail {

/// y(i, j) = x row i · w row j + bias[j] for i < Rows and j < Columns, each with one vector of partial sums.
template <std::size_t Rows, std::size_t Columns, class T>
void dot_products(std::size_t k, RowMajor<const T> x, RowMajor<const T> w, const T* bias, RowMajor<T> y) {
  // In whole groups of `lanes`, whose horizontal sums are taken together; sums beyond the last stay zero.
  constexpr std::size_t group = lanes<T>, groups = (Rows * Columns + group - 1) / group;
  Simd<T> sum[groups][group];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < groups * group; ++i) sum[i / group][i % group] = Simd<T>{};

  const auto add = [&](auto read, std::size_t p) {
    Simd<T> weights[Columns];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < Columns; ++j) {
      weights[j] = read(w.row(j) + p);
      __builtin_prefetch(w.row(j + 2 * Columns) + p, 0, 2);  // the next call but one; past W's end it does nothing
    }
#pragma GCC unroll 16
    for (std::size_t i = 0; i < Rows; ++i) {
      const Simd<T> input = read(x.row(i) + p);
#pragma GCC unroll 16
      for (std::size_t j = 0; j < Columns; ++j) {
        Simd<T>& dot = sum[(i * Columns + j) / group][(i * Columns + j) % group];
        dot = fma(input, weights[j], dot);
      }
    }
  };
  const std::size_t whole = k - k % lanes<T>;
  for (std::size_t p = 0; p < whole; p += lanes<T>) add([](const T* from) { return load(from); }, p);
  if (whole < k) add([&](const T* from) { return load_first(from, k - whole); }, whole);

  T total[groups * group];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < groups; ++i) store(total + i * group, horizontal_sums<T>(sum[i]));
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
  if constexpr (Columns <= 4) {
    while (m - i >= 4) step(std::integral_constant<std::size_t, 4>{});
    if (m - i >= 2) step(std::integral_constant<std::size_t, 2>{});
  }
  while (m > i) step(std::integral_constant<std::size_t, 1>{});
}

/// See Native::forward_few_rows.
template <class T>
void forward_few_rows(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<T> y) {
  constexpr std::size_t wide = lanes<T> < 8 ? 8 : lanes<T>;
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

}  // namespace fathom::inline FATHOM_ABI::cpu::detail
