// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include "fathom/backend/cpu/matmul/micro_kernel.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/simd.hpp"

/// Copies of operand blocks in the order the micro-kernel reads them. B becomes panels of RegisterTile::columns
/// columns, one after the other, each with consecutive rows; columns beyond the matrix are zero.
namespace fathom::inline FATHOM_ABI::cpu::detail {

/// Transposes a square of registers by swapping ever larger off-diagonal blocks.
template <std::size_t Distance = 1, class V, std::size_t Count>
void transpose(V (&rows)[Count]) {
  if constexpr (Distance < Count) {
    [&]<int... I>(std::integer_sequence<int, I...>) {
      constexpr int n = Count, d = Distance;
#pragma GCC unroll 16
      for (std::size_t i = 0; i < Count; ++i) {
        if (i & Distance) continue;
        const V upper = rows[i], lower = rows[i + Distance];
        rows[i] = shuffle<(I & d ? n + I - d : I)...>(upper, lower);
        rows[i + Distance] = shuffle<(I & d ? n + I : I + d)...>(upper, lower);
      }
    }(std::make_integer_sequence<int, static_cast<int>(Count)>{});
    transpose<2 * Distance>(rows);
  }
}

/// Panels of the transpose of w[columns, depth].
template <class T>
void pack_transposed(RowMajor<const T> w, std::size_t columns, std::size_t depth, T* packed) {
  constexpr std::size_t width = lanes<T>, panel = RegisterTile<T>::columns;
  for (std::size_t j = 0; j < columns; j += width) {
    const std::size_t rows = std::min(columns - j, width);
    T* out = packed + j / panel * panel * depth + j % panel;
    for (std::size_t p = 0; p < depth; p += width) {
      const std::size_t valid = std::min(depth - p, width);
      // The hardware follows fewer streams than there are rows here, so fetch this place of the next rows ahead of
      // time.
      for (std::size_t i = j + width; i < std::min(columns, j + 2 * width); ++i) __builtin_prefetch(w.row(i) + p);
      Simd<T> block[width];
      if (rows == width && valid == width) {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < width; ++i) block[i] = load(w.row(j + i) + p);
      } else {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < width; ++i) block[i] = i < rows ? load_first(w.row(j + i) + p, valid) : Simd<T>{};
      }
      transpose(block);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < width; ++i)
        if (i < valid) store(out + (p + i) * panel, block[i]);
    }
    if (j + width >= columns && (j + width) % panel != 0)  // the last panel's second half
      for (std::size_t p = 0; p < depth; ++p) store(out + p * panel + width, Simd<T>{});
  }
}

/// Panels of b[depth, columns].
template <class T>
void pack_panels(RowMajor<const T> b, std::size_t depth, std::size_t columns, T* packed) {
  constexpr std::size_t width = lanes<T>, panel = RegisterTile<T>::columns;
  for (std::size_t j = 0; j < columns; j += panel)
    for (std::size_t p = 0; p < depth; ++p, packed += panel)
      for (std::size_t v = 0; v < panel; v += width) {
        const T* from = b.row(p) + j + v;
        const std::size_t left = columns - std::min(columns, j + v);
        store(packed + v, left >= width ? load(from) : load_first(from, left));
      }
}

/// a[rows, depth] at the constant row stride `Stride`.
template <std::size_t Stride, class T>
void pack_rows(RowMajor<const T> a, std::size_t rows, std::size_t depth, T* packed) {
  for (std::size_t i = 0; i < rows; ++i) std::copy_n(a.row(i), depth, packed + i * Stride);
}

/// The row stride of `pack_columns`: a whole number of registers.
template <class T>
inline constexpr std::size_t packed_columns_stride = (RegisterTile<T>::rows + lanes<T> - 1) / lanes<T> * lanes<T>;

/// a[depth, columns] with columns <= RegisterTile::rows; adds the sum of each column to sums[column] unless sums is
/// null.
template <class T>
void pack_columns(RowMajor<const T> a, std::size_t columns, std::size_t depth, T* packed, T* sums) {
  for (std::size_t v = 0; v < columns; v += lanes<T>) {
    const std::size_t valid = std::min(columns - v, lanes<T>);
    Simd<T> sum = sums ? load_first(sums + v, valid) : Simd<T>{};
    for (std::size_t p = 0; p < depth; ++p) {
      const Simd<T> row = load_first(a.row(p) + v, valid);
      store(packed + p * packed_columns_stride<T> + v, row);
      sum += row;
    }
    if (sums) store_first(sums + v, sum, valid);
  }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::detail
