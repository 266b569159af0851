// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/shuffle.hpp>
#include <fathom/backend/cpu/simd.hpp>
#include <fathom/backend/cpu/sweep.hpp>

/// The building blocks of attention: a register tile of a product, and copies between rows and columns.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail {

/// A block of queries lies in the elements of `vectors` registers; products are formed `rows` (keys, or columns of the
/// head) at a time. 8 x 2 accumulators on AVX-512, 4 x 2 elsewhere.
template <class T>
struct AttentionTile {
  static constexpr std::size_t rows = std::min<std::size_t>(simd_width<T>, FATHOM_SIMD_BITS == 512 ? 8 : 4);
  static constexpr std::size_t vectors = 2;
  static constexpr std::size_t queries = vectors * simd_width<T>;
};

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// A(i, p) = row i of a matrix, in order.
template <class T>
struct AlongRows {
  const T* a;
  std::size_t stride;

  T operator()(std::size_t i, std::size_t p) const { return a[i * stride + p]; }
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
    for (std::size_t v = 0; v < Vectors; ++v) sum[i][v] = Add ? load(c + i * c_stride + v * simd_width<T>) : Simd<T>{};
  for (std::size_t p = 0; p < depth; ++p) {
    Simd<T> row[Vectors];
#pragma GCC unroll 16
    for (std::size_t v = 0; v < Vectors; ++v) {
      row[v] = load(b + p * b_stride + v * simd_width<T>);
      keep_in_register(row[v]);
    }
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
    for (std::size_t v = 0; v < Vectors; ++v) store(c + i * c_stride + v * simd_width<T>, sum[i][v]);
}

/// to (count, width) = factor · from.
template <class T, class From, class To>
void copy_rows(std::size_t count, std::size_t width, const From* from, std::size_t from_stride, T factor, To* to,
               std::size_t to_stride) {
  for (std::size_t i = 0; i < count; ++i, from += from_stride, to += to_stride)
    sweep<T>(width, [&](auto place) { place.store(to, place.load(from) * factor); });
}

/// packed (packed_rows, packed_width) = factor · rows (count, width), zero where it is larger.
template <class T, class Stored>
void pack_rows(std::size_t count, std::size_t width, const Stored* rows, std::size_t stride, T factor,
               std::size_t packed_rows, std::size_t packed_width, T* packed) {
  if (packed_width > width)
    std::fill_n(packed, packed_rows * packed_width, T(0));
  else
    std::fill_n(packed + count * packed_width, (packed_rows - count) * packed_width, T(0));
  copy_rows(count, width, rows, stride, factor, packed, packed_width);
}

/// out (columns, out_width) = the transpose of in (rows, columns) whose row has been multiplied by `factor` element by
/// element; rows, columns, out_width <= simd_width. Elements of `out` from `rows` on are zero.
template <class T, class From, class To>
void transpose_block(std::size_t rows, std::size_t columns, const From* in, std::size_t in_stride, Simd<T> factor,
                     To* out, std::size_t out_stride, std::size_t out_width) {
  Simd<T> block[simd_width<T>];
  if (rows == simd_width<T> && columns == simd_width<T>) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < simd_width<T>; ++i) block[i] = load(in + i * in_stride) * factor;
  } else {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < simd_width<T>; ++i)
      block[i] = i < rows ? load_first(in + i * in_stride, columns) * factor : Simd<T>{};
  }
  transpose(block);
  if (columns == simd_width<T> && out_width == simd_width<T>) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < simd_width<T>; ++i) store(out + i * out_stride, block[i]);
  } else {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < simd_width<T>; ++i)
      if (i < columns) store_first(out + i * out_stride, block[i], out_width);
  }
}

/// columns (width, AttentionTile::queries) = factor · the transpose of rows (count, width); those from count on
/// are 0.
template <class T, class Stored>
void to_columns(std::size_t count, std::size_t width, const Stored* rows, std::size_t stride, T factor, T* columns) {
  constexpr std::size_t queries = AttentionTile<T>::queries;
  for (std::size_t v = 0; v < queries; v += simd_width<T>)
    for (std::size_t d = 0; d < width; d += simd_width<T>)
      transpose_block<T>(std::min(count - std::min(count, v), simd_width<T>), std::min(width - d, simd_width<T>),
                         rows + v * stride + d, stride, broadcast(factor), columns + d * queries + v, queries,
                         simd_width<T>);
}

/// rows (count, width) = the transpose of columns (width, AttentionTile::queries), element i multiplied by factor[i].
template <class T, class Stored>
void to_rows(std::size_t count, std::size_t width, const T* columns, const T* factor, Stored* rows,
             std::size_t stride) {
  constexpr std::size_t queries = AttentionTile<T>::queries;
  for (std::size_t v = 0; v < count; v += simd_width<T>)
    for (std::size_t d = 0; d < width; d += simd_width<T>)
      transpose_block<T>(std::min(width - d, simd_width<T>), std::min(count - v, simd_width<T>),
                         columns + d * queries + v, queries, load(factor + v), rows + v * stride + d, stride,
                         std::min(width - d, simd_width<T>));
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail
