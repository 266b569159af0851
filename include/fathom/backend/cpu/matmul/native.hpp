// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "fathom/backend/cpu/matmul/few_rows.hpp"
#include "fathom/backend/cpu/matmul/micro_kernel.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/pack.hpp"
#include "fathom/backend/cpu/simd.hpp"

namespace fathom::inline FATHOM_ABI::cpu {

/// Our own matmul: blocks of one operand packed into panels that stay in the L2 cache, tiles of the other in L1, a
/// micro-kernel that keeps its tile of the result in registers.
///
/// Every element of a result is one chain of fma in ascending order of the summed index, begun at its start value. So
/// its bits do not depend on how a caller cuts the rows or columns of a result among calls and threads.
///
/// All calls run on the calling thread. `scratch` is `scratch_size<T>` elements, best aligned to 64 bytes, one per
/// thread; what it holds before and after means nothing. Outputs must not overlap inputs except where said.
struct Native {
  /// Cuts at any row give the same bits.
  static constexpr std::size_t row_granularity = 1;

  /// How many T of scratch any call needs whose m, n and k are at most those of `largest`.
  template <class T>
  static constexpr std::size_t scratch_size(MatmulSize largest);

  /// Y[m,n] = X[m,k]·W[n,k]ᵀ + bias[n] for every row; a null bias is zero.
  template <class T>
  static void forward(MatmulSize size, Operand<T> x, Operand<T> w, const std::type_identity_t<T>* bias, RowMajor<T> y,
                      std::type_identity_t<T>* scratch);

  /// dX[m,k] = dY[m,n]·W[n,k] + scale·skip[m,k]; a null skip is zero. skip may be dX itself.
  template <class T>
  static void input_gradient(MatmulSize size, Operand<T> dy, Operand<T> w, Operand<T> skip,
                             std::type_identity_t<T> scale, RowMajor<T> dx, std::type_identity_t<T>* scratch);

  /// dW[n,k] += dY[m,n]ᵀ·X[m,k], and db[n] += the column sums of dY unless db is null.
  template <class T>
  static void weight_gradient(MatmulSize size, Operand<T> dy, Operand<T> x, RowMajor<T> dw, std::type_identity_t<T>* db,
                              std::type_identity_t<T>* scratch);

  /// `forward` for generation, m up to about eight: reads W once, unpacked, at memory speed. The sums are taken in
  /// another order than in `forward`, the same for every m, n and cut: bits agree between calls of this function only.
  template <class T>
  static void forward_few_rows(MatmulSize size, Operand<T> x, Operand<T> w, const std::type_identity_t<T>* bias,
                               RowMajor<T> y) {
    detail::forward_few_rows(size, x, w, bias, y);
  }

 private:
  /// The summed index is cut into blocks of `depth`; a panel block of B takes half of a usual L2 cache.
  template <class T>
  struct Block {
    static constexpr std::size_t depth = 1024 / sizeof(T);
    static constexpr std::size_t columns = (512 * 1024 / sizeof(T)) / depth;
    // One cache line more than the depth: rows at a power of two apart would share the sets of the L1 cache.
    static constexpr std::size_t row_stride = depth + 64 / sizeof(T);
    static constexpr std::size_t tile =
        std::max(detail::RegisterTile<T>::rows * row_stride, detail::packed_columns_stride<T>* depth);
  };

  /// C[rows, columns] = start + A·B, A(i, p) = a[i·a_row + p·a_step].
  /// pack_b(first row, depth, first column, columns, packed) makes panels of a block of B;
  /// pack_a(first row, rows, first depth, depth, packed) a tile of A with row stride ARow and depth stride a_step.
  template <std::size_t ARow, class T, class PackA, class PackB>
  static void blocked(std::size_t rows, std::size_t columns, std::size_t depth, std::size_t a_step, PackA pack_a,
                      PackB pack_b, detail::Start<T> start, RowMajor<T> c, T* scratch);
};

template <class T>
constexpr std::size_t Native::scratch_size(MatmulSize largest) {
  using Tile = detail::RegisterTile<T>;
  const auto panels = [](std::size_t columns, std::size_t depth) {
    const std::size_t padded = (columns + Tile::columns - 1) / Tile::columns * Tile::columns;
    return std::min(padded, Block<T>::columns) * std::min(depth, Block<T>::depth);
  };
  const std::size_t b =
      std::max({panels(largest.n, largest.k), panels(largest.k, largest.n), panels(largest.k, largest.m)});
  return Block<T>::tile + b;
}

template <std::size_t ARow, class T, class PackA, class PackB>
void Native::blocked(std::size_t rows, std::size_t columns, std::size_t depth, std::size_t a_step, PackA pack_a,
                     PackB pack_b, detail::Start<T> start, RowMajor<T> c, T* scratch) {
  using Tile = detail::RegisterTile<T>;
  T* const a = scratch;
  T* const b = scratch + Block<T>::tile;
  const std::size_t tiles = (rows + Tile::rows - 1) / Tile::rows;

  for (std::size_t p = 0; p < depth; p += Block<T>::depth) {
    const std::size_t block_depth = std::min(depth - p, Block<T>::depth);
    for (std::size_t j = 0; j < columns; j += Block<T>::columns) {
      const std::size_t block_columns = std::min(columns - j, Block<T>::columns);
      pack_b(p, block_depth, j, block_columns, b);
      for (std::size_t t = 0; t < tiles; ++t) {
        // Tiles of nearly equal height: no tile is much lower than the registers allow.
        const std::size_t i = t * rows / tiles, tile_rows = (t + 1) * rows / tiles - i;
        pack_a(i, tile_rows, p, block_depth, a);
        for (std::size_t l = 0; l < block_columns; l += Tile::columns)
          detail::micro_kernel<ARow>(tile_rows, block_depth, a, a_step, b + l * block_depth, Tile::columns,
                                     start.at(i, j + l), c.row(i) + j + l, c.stride,
                                     std::min(block_columns - l, Tile::columns));
      }
    }
    start = {c.data, c.stride};
  }
  if (depth == 0)
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j)
        c.row(i)[j] = start.data ? start.scale * start.data[i * start.stride + j] : T(0);
}

template <class T>
void Native::forward(MatmulSize size, Operand<T> x, Operand<T> w, const std::type_identity_t<T>* bias, RowMajor<T> y,
                     std::type_identity_t<T>* scratch) {
  constexpr std::size_t stride = Block<T>::row_stride;
  blocked<stride>(
      size.m, size.n, size.k, 1,
      [&](std::size_t i, std::size_t rows, std::size_t p, std::size_t depth, T* packed) {
        detail::pack_rows<stride>(Operand<T>{x.row(i) + p, x.stride}, rows, depth, packed);
      },
      [&](std::size_t p, std::size_t depth, std::size_t j, std::size_t columns, T* packed) {
        detail::pack_transposed(Operand<T>{w.row(j) + p, w.stride}, columns, depth, packed);
      },
      detail::Start<T>{bias, 0}, y, scratch);
}

template <class T>
void Native::input_gradient(MatmulSize size, Operand<T> dy, Operand<T> w, Operand<T> skip,
                            std::type_identity_t<T> scale, RowMajor<T> dx, std::type_identity_t<T>* scratch) {
  constexpr std::size_t stride = Block<T>::row_stride;
  blocked<stride>(
      size.m, size.k, size.n, 1,
      [&](std::size_t i, std::size_t rows, std::size_t p, std::size_t depth, T* packed) {
        detail::pack_rows<stride>(Operand<T>{dy.row(i) + p, dy.stride}, rows, depth, packed);
      },
      [&](std::size_t p, std::size_t depth, std::size_t j, std::size_t columns, T* packed) {
        detail::pack_panels(Operand<T>{w.row(p) + j, w.stride}, depth, columns, packed);
      },
      detail::Start<T>{skip.data, skip.stride, scale}, dx, scratch);
}

template <class T>
void Native::weight_gradient(MatmulSize size, Operand<T> dy, Operand<T> x, RowMajor<T> dw, std::type_identity_t<T>* db,
                             std::type_identity_t<T>* scratch) {
  blocked<1>(
      size.n, size.k, size.m, detail::packed_columns_stride<T>,
      [&](std::size_t i, std::size_t rows, std::size_t p, std::size_t depth, T* packed) {
        detail::pack_columns(Operand<T>{dy.row(p) + i, dy.stride}, rows, depth, packed, db ? db + i : nullptr);
      },
      [&](std::size_t p, std::size_t depth, std::size_t j, std::size_t columns, T* packed) {
        detail::pack_panels(Operand<T>{x.row(p) + j, x.stride}, depth, columns, packed);
      },
      detail::Start<T>{dw.data, dw.stride}, dw, scratch);
}

}  // namespace fathom::inline FATHOM_ABI::cpu
