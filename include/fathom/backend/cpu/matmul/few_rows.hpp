// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/simd.hpp"

namespace fathom::inline FATHOM_ABI::cpu::detail {

/// y(i, j) = x row i · w row j + bias[j] for i < Rows and j < Columns, each with one vector of partial sums.
template <std::size_t Rows, std::size_t Columns, class T>
void dot_products(std::size_t k, RowMajor<const T> x, RowMajor<const T> w, const T* bias, RowMajor<T> y) {
  Simd<T> sum[Rows][Columns];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (std::size_t j = 0; j < Columns; ++j) sum[i][j] = Simd<T>{};

  const auto add = [&](auto read, std::size_t p) {
    Simd<T> weights[Columns];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < Columns; ++j) weights[j] = read(w.row(j) + p);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < Rows; ++i) {
      const Simd<T> input = read(x.row(i) + p);
#pragma GCC unroll 16
      for (std::size_t j = 0; j < Columns; ++j) sum[i][j] = fma(input, weights[j], sum[i][j]);
    }
  };
  const std::size_t whole = k - k % lanes<T>;
  for (std::size_t p = 0; p < whole; p += lanes<T>) add([](const T* from) { return load(from); }, p);
  if (whole < k) add([&](const T* from) { return load_first(from, k - whole); }, whole);

#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (std::size_t j = 0; j < Columns; ++j) y.row(i)[j] = horizontal_sum(sum[i][j]) + (bias ? bias[j] : T(0));
}

/// All n columns of Rows rows.
template <std::size_t Rows, class T>
void few_rows(std::size_t n, std::size_t k, RowMajor<const T> x, RowMajor<const T> w, const T* bias, RowMajor<T> y) {
  constexpr std::size_t columns = Rows == 1 ? 8 : 4;
  std::size_t j = 0;
  const auto step = [&]<std::size_t Columns>(std::integral_constant<std::size_t, Columns>) {
    dot_products<Rows, Columns>(k, x, {w.row(j), w.stride}, bias ? bias + j : nullptr,
                                RowMajor<T>{y.data + j, y.stride});
    j += Columns;
  };
  while (n - j >= columns) step(std::integral_constant<std::size_t, columns>{});
  while (j < n) step(std::integral_constant<std::size_t, 1>{});
}

/// See Native::forward_few_rows.
template <class T>
void forward_few_rows(MatmulSize size, Operand<T> x, Operand<T> w, const T* bias, RowMajor<T> y) {
  const auto rows = [&]<std::size_t Rows>(std::integral_constant<std::size_t, Rows>, std::size_t first) {
    few_rows<Rows, T>(size.n, size.k, {x.row(first), x.stride}, w, bias, {y.row(first), y.stride});
  };
  std::size_t i = 0;
  for (; i + 4 <= size.m; i += 4) rows(std::integral_constant<std::size_t, 4>{}, i);
  if (size.m - i >= 2) rows(std::integral_constant<std::size_t, 2>{}, i), i += 2;
  if (size.m - i == 1) rows(std::integral_constant<std::size_t, 1>{}, i);
}

}  // namespace fathom::inline FATHOM_ABI::cpu::detail
