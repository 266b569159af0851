// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "fathom/backend/cpu/matmul/micro_kernel.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/simd.hpp"

/// Copies of operand blocks in the order the micro-kernel reads them. B becomes panels of RegisterTile::columns
/// columns, one after the other, each with consecutive rows; what columns beyond the matrix hold is of no consequence.
namespace fathom::inline FATHOM_ABI::cpu::detail {

/// Sixteen bytes each of as many rows as fit side by side in one register, beginning at rows[0][p], rows[count][p], …
/// where count is the number of elements in sixteen bytes.
template <class T>
[[gnu::always_inline]] inline Simd<T> load_side_by_side(const T* const* rows, std::size_t p) {
  constexpr int count = 16 / sizeof(T);
  const auto part = [=](std::size_t g) {
    using Part [[gnu::vector_size(16)]] = T;
    Part v;
    std::memcpy(&v, rows[g * count] + p, sizeof v);
    return v;
  };
  const auto join = []<int... I>(auto low, auto high, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(low, high, I...);
  };
  constexpr std::make_integer_sequence<int, 2 * count> two;
  if constexpr (simd_bytes == 16)
    return part(0);
  else if constexpr (simd_bytes == 32)
    return join(part(0), part(1), two);
  else
    return join(join(part(0), part(1), two), join(part(2), part(3), two), std::make_integer_sequence<int, 4 * count>{});
}

/// In every 16 bytes: the lower (Half 0) or upper (Half 1) 8 bytes of a and b, in turns of `Size` elements.
template <class T, int Size, int Half>
Simd<T> interleave(Simd<T> a, Simd<T> b) {
  constexpr int count = 16 / sizeof(T), all = lanes<T>;
  constexpr auto source = [](int i) {
    const int turn = i % count / Size, from_b = turn % 2;
    return from_b * all + i / count * count + Half * count / 2 + turn / 2 * Size + i % Size;
  };
  return [&]<int... I>(std::integer_sequence<int, I...>) { return shuffle<source(I)...>(a, b); }
  (std::make_integer_sequence<int, all>{});
}

/// Panels of the transpose of w[columns, depth].
template <class T>
void pack_transposed(RowMajor<const T> w, std::size_t columns, std::size_t depth, T* packed) {
  constexpr std::size_t width = lanes<T>, panel = RegisterTile<T>::columns;
  for (std::size_t j = 0; j < columns; j += width) {
    const T* rows[width];
    for (std::size_t i = 0; i < width; ++i) rows[i] = w.row(std::min(j + i, columns - 1));
    T* out = packed + j / panel * panel * depth + j % panel;
    std::size_t p = 0;
    for (; p + width <= depth; p += width, out += width * panel) {
      Simd<T> square[width];
#pragma GCC unroll 16
      for (std::size_t i = 0; i < width; ++i) {
        __builtin_prefetch(rows[i] + width * w.stride + p, 0, 2);
        square[i] = load(rows[i] + p);
      }
      transpose(square);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < width; ++i) store(out + i * panel, square[i]);
    }
    for (; p < depth; ++p, out += panel)
      for (std::size_t i = 0; i < width; ++i) out[i] = rows[i][p];
  }
}

/// b[depth, columns] with rows of Width numbers, whole registers; columns <= Width.
template <std::size_t Width, class T>
void pack_columns(RowMajor<const T> b, std::size_t depth, std::size_t columns, T* packed) {
  static_assert(Width % lanes<T> == 0);
  for (std::size_t p = 0; p < depth; ++p)
    for (std::size_t v = 0; v < Width; v += lanes<T>, packed += lanes<T>)
      store(packed, load_first(b.row(p) + std::min(v, columns), std::min(columns - std::min(v, columns), lanes<T>)));
}

/// a[rows, depth] at the constant row stride `Stride`.
template <std::size_t Stride, class T>
void pack_rows(RowMajor<const T> a, std::size_t rows, std::size_t depth, T* packed) {
  for (std::size_t i = 0; i < rows; ++i) std::copy_n(a.row(i), depth, packed + i * Stride);
}

/// sums[columns] += the sum over the rows of a[rows, columns], in ascending order of the rows.
template <class T>
void add_column_sums(RowMajor<const T> a, std::size_t rows, std::size_t columns, T* sums) {
  constexpr std::size_t width = lanes<T>, together = 4;
  std::size_t j = 0;
  for (; j + together * width <= columns; j += together * width) {
    Simd<T> sum[together];
#pragma GCC unroll 16
    for (std::size_t v = 0; v < together; ++v) sum[v] = load(sums + j + v * width);
    for (std::size_t i = 0; i < rows; ++i)
#pragma GCC unroll 16
      for (std::size_t v = 0; v < together; ++v) sum[v] += load(a.row(i) + j + v * width);
#pragma GCC unroll 16
    for (std::size_t v = 0; v < together; ++v) store(sums + j + v * width, sum[v]);
  }
  for (; j < columns; j += width) {
    const std::size_t valid = std::min(columns - j, width);
    Simd<T> sum = load_first(sums + j, valid);
    for (std::size_t i = 0; i < rows; ++i) sum += load_first(a.row(i) + j, valid);
    store_first(sums + j, sum, valid);
  }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::detail
