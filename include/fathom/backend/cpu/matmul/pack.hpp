// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include "fathom/backend/cpu/bf16.hpp"
#include "fathom/backend/cpu/matmul/micro_kernel.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/shuffle.hpp"
#include "fathom/backend/cpu/simd.hpp"

/// Copies of operand blocks in the order the micro-kernel reads them. B becomes panels of RegisterTile::columns
/// columns, one after the other, each with consecutive rows; what columns beyond the matrix hold is of no consequence.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail {

/// Panels of the transpose of w[columns, depth].
template <class T>
void pack_transposed(RowMajor<const T> w, std::size_t columns, std::size_t depth, T* packed) {
  constexpr std::size_t width = simd_width<T>, panel = RegisterTile<T>::columns;
  for (std::size_t j = 0; j < columns; j += width) {
    const T* rows[width];
    for (std::size_t i = 0; i < width; ++i) rows[i] = w.row(std::min(j + i, columns - 1));
    T* out = packed + j / panel * panel * depth + j % panel;
    std::size_t p = 0;
    for (; p + width <= depth; p += width, out += width * panel) {
      Simd<T> square[width];
      // The hardware follows fewer streams than there are rows: this place of the next rows is fetched ahead, into L2.
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
  static_assert(Width % simd_width<T> == 0);
  for (std::size_t p = 0; p < depth; ++p)
    for (std::size_t v = 0; v < Width; v += simd_width<T>, packed += simd_width<T>)
      store(packed,
            load_first(b.row(p) + std::min(v, columns), std::min(columns - std::min(v, columns), simd_width<T>)));
}

/// a[rows, depth] at the constant row stride `Stride`.
template <std::size_t Stride, class T>
void pack_rows(RowMajor<const T> a, std::size_t rows, std::size_t depth, T* packed) {
  for (std::size_t i = 0; i < rows; ++i) std::copy_n(a.row(i), depth, packed + i * Stride);
}

/// sums[columns] += the sums over the rows of a[rows, columns], in ascending order of the rows.
template <class Stored, class T = Computed<Stored>>
void add_column_sums(RowMajor<const Stored> a, std::size_t rows, std::size_t columns, T* sums) {
  constexpr std::size_t width = simd_width<T>, together = 4;
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

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail
