// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/backend/cpu/simd.hpp>
#include <fathom/core/config.hpp>

/// The building blocks of attention: a register tile of a product, and copies between rows and columns.
namespace fathom::inline FATHOM_ABI::cpu::detail {

/// A block of queries lies in the lanes of `vectors` registers; products are formed `rows` (keys, or columns of the
/// head) at a time. 8 x 2 accumulators on AVX-512, 4 x 3 on AVX2, 4 x 2 where registers are short.
template <class T>
struct AttentionTile {
  static constexpr std::size_t rows = std::min<std::size_t>(lanes<T>, FATHOM_SIMD_BITS == 512 ? 8 : 4);
  static constexpr std::size_t vectors = FATHOM_SIMD_BITS == 256 ? 3 : 2;
  static constexpr std::size_t queries = vectors * lanes<T>;
};

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// A(i, p) = row i of a matrix, in order.
template <std::size_t Rows, class T>
struct AlongRows {
  const T* row[Rows];

  AlongRows(const T* a, std::size_t stride) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < Rows; ++i) row[i] = a + i * stride;
  }
  T operator()(std::size_t i, std::size_t p) const { return row[i][p]; }
};

/// A(i, p) = row i of a matrix of `Stride` columns, in order.
template <std::size_t Stride, class T>
struct AlongFixedRows {
  const T* a;

  T operator()(std::size_t i, std::size_t p) const { return a[i * Stride + p]; }
};

/// A(i, p) = column i of a matrix, in order.
template <class T>
struct AlongColumns {
  const T* a;
  std::size_t stride;

  T operator()(std::size_t i, std::size_t p) const { return a[p * stride + i]; }
};

/// C = A·B, or C += A·B if Add: C (Rows, Vectors registers), A (Rows, depth), B (depth, Vectors registers). Every
/// number of C is one chain of fma over ascending depth.
template <bool Add, std::size_t Rows, std::size_t Vectors, class T, class A>
void multiply(std::size_t depth, A a, const T* b, std::size_t b_stride, T* c, std::size_t c_stride) {
  Simd<T> sum[Rows][Vectors];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (std::size_t v = 0; v < Vectors; ++v) sum[i][v] = Add ? load(c + i * c_stride + v * lanes<T>) : Simd<T>{};
  for (std::size_t p = 0; p < depth; ++p) {
    Simd<T> row[Vectors];
#pragma GCC unroll 16
    for (std::size_t v = 0; v < Vectors; ++v) row[v] = load(b + p * b_stride + v * lanes<T>);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < Rows; ++i) {
      const Simd<T> x = broadcast(a(i, p));
#pragma GCC unroll 16
      for (std::size_t v = 0; v < Vectors; ++v) sum[i][v] = fma(x, row[v], sum[i][v]);
    }
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (std::size_t v = 0; v < Vectors; ++v) store(c + i * c_stride + v * lanes<T>, sum[i][v]);
}

/// copy (padded_rows, padded_width) = factor · rows (count, width), zero where it is larger.
template <class T>
void copy_rows(std::size_t count, std::size_t width, const T* rows, std::size_t stride, T factor,
               std::size_t padded_rows, std::size_t padded_width, T* copy) {
  for (std::size_t i = 0; i < count; ++i, rows += stride, copy += padded_width) {
    std::size_t d = 0;
    for (; d + lanes<T> <= width; d += lanes<T>) store(copy + d, load(rows + d) * factor);
    for (; d < width; ++d) copy[d] = rows[d] * factor;
    std::fill(copy + d, copy + padded_width, T(0));
  }
  std::fill_n(copy, (padded_rows - count) * padded_width, T(0));
}

/// columns (width, AttentionTile::queries) = factor · the transpose of rows (count, width); lanes from count on are 0.
template <class T>
void to_columns(std::size_t count, std::size_t width, const T* rows, std::size_t stride, T factor, T* columns) {
  constexpr std::size_t queries = AttentionTile<T>::queries;
  for (std::size_t v = 0; v < queries; v += lanes<T>)
    for (std::size_t d = 0; d < width; d += lanes<T>) {
      const std::size_t valid = std::min(width - d, lanes<T>);
      Simd<T> block[lanes<T>];
      if (v + lanes<T> <= count && valid == lanes<T>) {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < lanes<T>; ++i) block[i] = load(rows + (v + i) * stride + d) * factor;
      } else {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < lanes<T>; ++i)
          block[i] = v + i < count ? load_first(rows + (v + i) * stride + d, valid) * factor : Simd<T>{};
      }
      transpose(block);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < lanes<T>; ++i)
        if (i < valid) store(columns + (d + i) * queries + v, block[i]);
    }
}

/// rows (count, width) = the transpose of columns (width, AttentionTile::queries), lane i multiplied by factor[i].
template <class T>
void to_rows(std::size_t count, std::size_t width, const T* columns, const T* factor, T* rows, std::size_t stride) {
  constexpr std::size_t queries = AttentionTile<T>::queries;
  for (std::size_t v = 0; v < count; v += lanes<T>) {
    const Simd<T> scale = load(factor + v);
    for (std::size_t d = 0; d < width; d += lanes<T>) {
      const std::size_t valid = std::min(width - d, lanes<T>);
      Simd<T> block[lanes<T>];
#pragma GCC unroll 16
      for (std::size_t i = 0; i < lanes<T>; ++i)
        block[i] = i < valid ? load(columns + (d + i) * queries + v) * scale : Simd<T>{};
      transpose(block);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < lanes<T>; ++i)
        if (v + i < count) store_first(rows + (v + i) * stride + d, block[i], valid);
    }
  }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::detail
