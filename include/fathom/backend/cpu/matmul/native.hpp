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

/// Our own matmul, C = A·B: blocks of B that stay in the L2 cache, tiles of A in L1, a micro-kernel that keeps its tile
/// of C in registers. Operands are read in place, but for a B that must be transposed (the W of `forward`) and the rows
/// of A in `forward` and `input_gradient`.
///
/// Every element of a result is one chain of fma (a·b + c on machines without) in ascending order of the summed index,
/// begun at its start value. So its bits do not depend on how a caller cuts the rows or columns of a result among calls
/// and threads.
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
  /// The summed index is cut into blocks of `depth`, the columns into blocks that take half of a usual L2 cache.
  template <class T>
  struct Block {
    static constexpr std::size_t depth = 1024 / sizeof(T);
    static constexpr std::size_t columns = (512 * 1024 / sizeof(T)) / depth;
    // One cache line more than the depth: rows at a power of two apart would share the sets of the L1 cache.
    static constexpr std::size_t row_stride = depth + 64 / sizeof(T);
    static constexpr std::size_t row_tile = detail::RegisterTile<T>::rows * row_stride;
  };

  /// A block of B for the micro-kernel: its panels, and the last one apart if that is narrower than the others.
  template <class T>
  struct Panels {
    const T* data;
    std::size_t row_step, column_step;
    const T* narrow;
  };

  /// C[rows, columns] = start + A·B, block by block. A(i, p) = a[i·ARow + p·a_step] in the tile
  /// a = tile_of_a(first row, rows, first depth, depth); block_of_b(first depth, depth, first column, columns) has B.
  template <std::size_t ARow, class T, class TileOfA, class BlockOfB>
  static void blocked(std::size_t rows, std::size_t columns, std::size_t depth, std::size_t a_step, TileOfA tile_of_a,
                      BlockOfB block_of_b, detail::Start<T> start, RowMajor<T> c);

  /// B read in place; only a narrow last panel is copied, as the micro-kernel reads whole ones.
  template <class T>
  static auto in_place(Operand<T> b, T* scratch) {
    return [=](std::size_t p, std::size_t depth, std::size_t j, std::size_t columns) -> Panels<T> {
      const std::size_t rest = columns % detail::RegisterTile<T>::columns;
      if (rest) detail::pack_panel(Operand<T>{b.row(p) + j + columns - rest, b.stride}, depth, rest, scratch);
      return {b.row(p) + j, b.stride, 1, scratch};
    };
  }

  /// Tiles of a row-major A copied to the constant row stride.
  template <class T>
  static auto copied_rows(Operand<T> a, T* scratch) {
    return [=](std::size_t i, std::size_t rows, std::size_t p, std::size_t depth) -> const T* {
      detail::pack_rows<Block<T>::row_stride>(Operand<T>{a.row(i) + p, a.stride}, rows, depth, scratch);
      return scratch;
    };
  }
};

template <class T>
constexpr std::size_t Native::scratch_size(MatmulSize largest) {
  using Tile = detail::RegisterTile<T>;
  const std::size_t padded = (largest.n + Tile::columns - 1) / Tile::columns * Tile::columns;
  const std::size_t transposed = std::min(padded, Block<T>::columns) * std::min(largest.k, Block<T>::depth);
  const std::size_t narrow = Tile::columns * std::min(std::max(largest.m, largest.n), Block<T>::depth);
  return Block<T>::row_tile + std::max(transposed, narrow);
}

template <std::size_t ARow, class T, class TileOfA, class BlockOfB>
void Native::blocked(std::size_t rows, std::size_t columns, std::size_t depth, std::size_t a_step, TileOfA tile_of_a,
                     BlockOfB block_of_b, detail::Start<T> start, RowMajor<T> c) {
  using Tile = detail::RegisterTile<T>;
  const std::size_t tiles = (rows + Tile::rows - 1) / Tile::rows;

  for (std::size_t p = 0; p < depth; p += Block<T>::depth) {
    const std::size_t block_depth = std::min(depth - p, Block<T>::depth);
    for (std::size_t j = 0; j < columns; j += Block<T>::columns) {
      const std::size_t block_columns = std::min(columns - j, Block<T>::columns);
      const Panels<T> b = block_of_b(p, block_depth, j, block_columns);
      for (std::size_t t = 0; t < tiles; ++t) {
        // Tiles of nearly equal height: no tile is much lower than the registers allow.
        const std::size_t i = t * rows / tiles, tile_rows = (t + 1) * rows / tiles - i;
        const T* const a = tile_of_a(i, tile_rows, p, block_depth);
        for (std::size_t l = 0; l < block_columns; l += Tile::columns) {
          const std::size_t width = std::min(block_columns - l, Tile::columns);
          const bool whole = width == Tile::columns, last = l + Tile::columns >= block_columns;
          T* const tile = c.row(i) + j + l;
          detail::micro_kernel<ARow>(tile_rows, block_depth, a, a_step, whole ? b.data + l * b.column_step : b.narrow,
                                     whole ? b.row_step : Tile::columns, start.at(i, j + l), tile, c.stride, width,
                                     last ? c.row(i + tile_rows) + j : tile + Tile::columns);
        }
      }
    }
    start = {c.data, c.stride};
  }
}

template <class T>
void Native::forward(MatmulSize size, Operand<T> x, Operand<T> w, const std::type_identity_t<T>* bias, RowMajor<T> y,
                     std::type_identity_t<T>* scratch) {
  T* const packed = scratch + Block<T>::row_tile;
  blocked<Block<T>::row_stride>(
      size.m, size.n, size.k, 1, copied_rows<T>(x, scratch),
      [=](std::size_t p, std::size_t depth, std::size_t j, std::size_t columns) -> Panels<T> {
        detail::pack_transposed(Operand<T>{w.row(j) + p, w.stride}, columns, depth, packed);
        constexpr std::size_t panel = detail::RegisterTile<T>::columns;
        return {packed, panel, depth, packed + columns / panel * panel * depth};
      },
      detail::Start<T>{bias, 0}, y);
}

template <class T>
void Native::input_gradient(MatmulSize size, Operand<T> dy, Operand<T> w, Operand<T> skip,
                            std::type_identity_t<T> scale, RowMajor<T> dx, std::type_identity_t<T>* scratch) {
  blocked<Block<T>::row_stride>(size.m, size.k, size.n, 1, copied_rows<T>(dy, scratch),
                                in_place<T>(w, scratch + Block<T>::row_tile),
                                detail::Start<T>{skip.data, skip.stride, scale}, dx);
}

template <class T>
void Native::weight_gradient(MatmulSize size, Operand<T> dy, Operand<T> x, RowMajor<T> dw, std::type_identity_t<T>* db,
                             std::type_identity_t<T>* scratch) {
  // A is dYᵀ: the columns of a tile are neighbours in memory, so it needs no copy either.
  blocked<1>(
      size.n, size.k, size.m, dy.stride,
      [=](std::size_t i, std::size_t, std::size_t p, std::size_t) { return dy.row(p) + i; }, in_place<T>(x, scratch),
      detail::Start<T>{dw.data, dw.stride}, dw);
  if (db) detail::add_column_sums(dy, size.m, size.n, db);
}

}  // namespace fathom::inline FATHOM_ABI::cpu
