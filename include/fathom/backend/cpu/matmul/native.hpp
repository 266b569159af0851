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

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Our own matmul, C = A·B: blocks of B that stay in the L2 cache, tiles of A in L1, a micro-kernel that keeps its tile
/// of C in registers. Operands are read in place, but for a B that must be transposed (the W of `forward`) and tiles of
/// A that are worth a copy.
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

  /// `forward` for generation, m up to about 16: reads W once, unpacked. The sums are taken in another order than in
  /// `forward`, in one order for m below `fewest_together` and in another from there on, the same for every n and cut of
  /// the columns: bits agree between calls of this function only.
  template <class T>
  static void forward_few_rows(MatmulSize size, Operand<T> x, Operand<T> w, const std::type_identity_t<T>* bias,
                               RowMajor<T> y, std::type_identity_t<T>* scratch) {
    detail::forward_few_rows(size, x, w, bias, y, scratch);
  }

 private:
  /// The summed index is cut into blocks of `depth`, the columns into blocks that take half of a usual L2 cache.
  template <class T>
  struct Block {
    static constexpr std::size_t depth = 1024 / sizeof(T);
    static constexpr std::size_t columns = (512 * 1024 / sizeof(T)) / depth;
    // One cache line more than the depth: rows at a power of two apart would share the sets of the L1 cache.
    static constexpr std::size_t row_stride = depth + detail::cache_line<T>;
    // The height of a tile in whole registers.
    static constexpr std::size_t column_stride =
        (detail::RegisterTile<T>::rows + simd_width<T> - 1) / simd_width<T> * simd_width<T>;
    static constexpr std::size_t tile = row_stride * column_stride;
  };

  /// A block of B: rows [p, p + depth), columns [j, j + columns).
  struct Piece {
    std::size_t p, depth, j, columns;
  };

  /// A block of B for the micro-kernel: its panels, and the last one apart if that is narrower than the others.
  template <class T>
  struct Panels {
    const T* data;
    std::size_t row_step, column_step;
    const T* narrow;
  };

  /// B read in place; only a narrow last panel is copied, as the micro-kernel reads whole ones. `panels` makes a block
  /// ready for the micro-kernel; `memory` is what that will read.
  template <class T>
  struct InPlace {
    Operand<T> b;
    T* scratch;

    Panels<T> panels(Piece at) const {
      constexpr std::size_t panel = detail::RegisterTile<T>::columns;
      const T* const first = b.row(at.p) + at.j;
      const std::size_t rest = at.columns % panel;
      if (rest) detail::pack_columns<panel>(Operand<T>{first + at.columns - rest, b.stride}, at.depth, rest, scratch);
      return {first, b.stride, 1, scratch};
    }
    detail::Upcoming<T> memory(Piece at) const { return {b.row(at.p) + at.j, b.stride, at.depth, at.columns}; }
  };

  /// B = Wᵀ, copied.
  template <class T>
  struct Transposed {
    Operand<T> w;
    T* scratch;

    Panels<T> panels(Piece at) const {
      constexpr std::size_t panel = detail::RegisterTile<T>::columns;
      detail::pack_transposed(Operand<T>{w.row(at.j) + at.p, w.stride}, at.columns, at.depth, scratch);
      return {scratch, panel, at.depth, scratch + at.columns / panel * panel * at.depth};
    }
    detail::Upcoming<T> memory(Piece at) const { return {w.row(at.j) + at.p, w.stride, at.columns, at.depth}; }
  };

  /// C[rows, columns] = start + A·B, block by block.
  template <class T>
  static void blocked(std::size_t rows, std::size_t columns, std::size_t depth, detail::Left<T> a, auto b,
                      detail::Start<T> start, RowMajor<T> c, T* tile_scratch);

  /// A tile of A for the micro-kernel: a copy if many panels of B meet it and its rows, or columns, lie so far apart
  /// that they share sets of the L1 cache and each has a page of its own; else where it is.
  template <class T>
  static detail::Left<T> tile_of_a(detail::Left<T> a, std::size_t rows, std::size_t depth, std::size_t columns,
                                   T* scratch) {
    constexpr std::size_t many_columns = 8 * detail::RegisterTile<T>::columns, far = 2048 / sizeof(T);
    if (columns < many_columns || std::max(a.row, a.column) < far) return a;
    if (a.column == 1) {
      detail::pack_rows<Block<T>::row_stride>(Operand<T>{a.data, a.row}, rows, depth, scratch);
      return {scratch, Block<T>::row_stride, 1};
    }
    detail::pack_columns<Block<T>::column_stride>(Operand<T>{a.data, a.column}, depth, rows, scratch);
    return {scratch, 1, Block<T>::column_stride};
  }

  /// What the next tile of A will read. Where A's columns are rows in memory, the last number of each: the others lie in
  /// its cache line, or in one that the tile before has read.
  template <class T>
  static detail::Upcoming<T> memory(detail::Left<T> a, std::size_t rows, std::size_t depth) {
    if (a.column == 1) return {a.data, a.row, rows, depth};
    return {a.data + rows - 1, a.column, depth, 1};
  }
};

template <class T>
constexpr std::size_t Native::scratch_size(MatmulSize largest) {
  using Tile = detail::RegisterTile<T>;
  const std::size_t padded = (largest.n + Tile::columns - 1) / Tile::columns * Tile::columns;
  const std::size_t transposed = std::min(padded, Block<T>::columns) * std::min(largest.k, Block<T>::depth);
  const std::size_t narrow = Tile::columns * std::min(std::max(largest.m, largest.n), Block<T>::depth);
  return std::max(Block<T>::tile + std::max(transposed, narrow), detail::forward_together_scratch<T>(largest));
}

template <class T>
void Native::blocked(std::size_t rows, std::size_t columns, std::size_t depth, detail::Left<T> a, auto b,
                     detail::Start<T> start, RowMajor<T> c, T* tile_scratch) {
  using Tile = detail::RegisterTile<T>;
  // Tiles of nearly equal height: no tile is much lower than the registers allow.
  const std::size_t tiles = (rows + Tile::rows - 1) / Tile::rows;
  const auto first_row = [=](std::size_t tile) { return tile * rows / tiles; };
  const auto piece = [=](std::size_t p, std::size_t j) {
    return Piece{p, std::min(depth - p, Block<T>::depth), j, std::min(columns - j, Block<T>::columns)};
  };
  const auto block_after = [&](Piece block) -> detail::Upcoming<T> {
    const std::size_t p = block.p + block.depth, j = block.j + block.columns;
    if (j < columns) return b.memory(piece(block.p, j));
    if (p < depth) return b.memory(piece(p, 0));
    return {};
  };

  for (std::size_t p = 0; p < depth; p += Block<T>::depth) {
    for (std::size_t j = 0; j < columns; j += Block<T>::columns) {
      const Piece block = piece(p, j);
      const Panels<T> panels = b.panels(block);
      const detail::Upcoming<T> next_block = block_after(block);
      for (std::size_t t = 0; t < tiles; ++t) {
        const std::size_t i = first_row(t), next_i = first_row(t + 1), tile_rows = next_i - i;
        const detail::Left<T> a_tile = tile_of_a(a.at(i, p), tile_rows, block.depth, block.columns, tile_scratch);
        detail::Ahead<T> ahead;
        if (next_i < rows) ahead.operands[0] = memory(a.at(next_i, p), first_row(t + 2) - next_i, block.depth);
        ahead.operands[1] = next_block.rows(t * next_block.rows() / tiles, (t + 1) * next_block.rows() / tiles);
        for (std::size_t l = 0; l < block.columns; l += Tile::columns) {
          const std::size_t width = std::min(block.columns - l, Tile::columns);
          const bool whole = width == Tile::columns, last = l + width == block.columns;
          T* const tile = c.row(i) + j + l;
          if (!last || next_i < rows)
            ahead.c = {last ? c.row(next_i) + j : tile + Tile::columns, c.stride, tile_rows, Tile::columns};
          else
            ahead.c = {};
          detail::micro_kernel(tile_rows, block.depth, a_tile,
                               whole ? panels.data + l * panels.column_step : panels.narrow,
                               whole ? panels.row_step : Tile::columns, start.at(i, j + l), tile, c.stride, width,
                               ahead);
        }
      }
    }
    start = {c.data, c.stride};
  }
}

template <class T>
void Native::forward(MatmulSize size, Operand<T> x, Operand<T> w, const std::type_identity_t<T>* bias, RowMajor<T> y,
                     std::type_identity_t<T>* scratch) {
  blocked(size.m, size.n, size.k, detail::Left<T>{x.data, x.stride, 1}, Transposed<T>{w, scratch + Block<T>::tile},
          detail::Start<T>{bias, 0}, y, scratch);
}

template <class T>
void Native::input_gradient(MatmulSize size, Operand<T> dy, Operand<T> w, Operand<T> skip,
                            std::type_identity_t<T> scale, RowMajor<T> dx, std::type_identity_t<T>* scratch) {
  blocked(size.m, size.k, size.n, detail::Left<T>{dy.data, dy.stride, 1}, InPlace<T>{w, scratch + Block<T>::tile},
          detail::Start<T>{skip.data, skip.stride, scale}, dx, scratch);
}

template <class T>
void Native::weight_gradient(MatmulSize size, Operand<T> dy, Operand<T> x, RowMajor<T> dw, std::type_identity_t<T>* db,
                             std::type_identity_t<T>* scratch) {
  blocked(size.n, size.k, size.m, detail::Left<T>{dy.data, 1, dy.stride}, InPlace<T>{x, scratch + Block<T>::tile},
          detail::Start<T>{dw.data, dw.stride}, dw, scratch);
  if (db) detail::add_column_sums(dy, size.m, size.n, db);
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
