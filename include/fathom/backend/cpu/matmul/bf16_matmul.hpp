// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/core/half.hpp>

#include "fathom/backend/cpu/bf16.hpp"
#include "fathom/backend/cpu/matmul/micro_kernel.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/pack_bf16.hpp"

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Where a product of bf16 matrices goes: as its float sums, rounded to bf16, or both. A null one is not wanted.
struct Bf16Result {
  RowMajor<float> sums;
  RowMajor<Bf16> rounded;
};

/// Native's products for bf16 operands: the same micro-kernel, the same blocks. Products are exact, sums are floats and
/// are rounded at most once, at their end.
///
/// Every element of a result is one chain of `multiply_add` in ascending order of the summed index, begun at its start
/// value, so its bits do not depend on how a caller cuts the rows or columns of a result. They do depend on the
/// processor: an instruction for pairs adds both products at once, and takes subnormal numbers for zero.
///
/// All calls run on the calling thread. `scratch` is `scratch_size` floats, best aligned to 64 bytes, one per thread.
/// Outputs must not overlap inputs except where said.
template <class Unit>
struct Bf16Products {
  static constexpr std::size_t row_granularity = 1;

  /// How many floats of scratch any call needs whose m, n and k are at most those of `largest`.
  static constexpr std::size_t scratch_size(MatmulSize largest) {
    const std::size_t bias = (largest.n + Tile::columns - 1) / Tile::columns * Tile::columns;
    const std::size_t widest = std::max(largest.n, largest.k), longest = std::max({largest.m, largest.n, largest.k});
    const std::size_t columns = std::min((widest + Tile::columns - 1) / Tile::columns * Tile::columns, Block::columns);
    return bias + Block::tile + columns * std::min(detail::units_of<Unit>(longest), Block::units) +
           std::min(largest.m, Block::rows) * columns;
  }

  /// Y[m,n] = X[m,k]·W[n,k]ᵀ + bias[n] for every row; a null bias is zero.
  static void forward(MatmulSize size, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, Bf16Result y,
                      float* scratch) {
    detail::Start<float> start;
    if (bias) {
      for (std::size_t j = 0; j < size.n; j += simd_width<float>)
        store(scratch + j, load_first(bias + j, std::min(size.n - j, simd_width<float>)));
      start = {scratch, 0};
      scratch += (size.n + Tile::columns - 1) / Tile::columns * Tile::columns;
    }
    blocked(size.m, size.n, size.k, Rows{x}, Transposed{w}, start, y, scratch);
  }

  /// dX[m,k] = dY[m,n]·W[n,k] + scale·skip[m,k]; a null skip is zero. skip may be dx.sums.
  static void input_gradient(MatmulSize size, Operand<Bf16> dy, Operand<Bf16> w, Operand<float> skip, float scale,
                             Bf16Result dx, float* scratch) {
    blocked(size.m, size.k, size.n, Rows{dy}, InRows{w}, {skip.data, skip.stride, scale}, dx, scratch);
  }

  /// dW[n,k] += dY[m,n]ᵀ·X[m,k], and db[n] += the column sums of dY unless db is null.
  static void weight_gradient(MatmulSize size, Operand<Bf16> dy, Operand<Bf16> x, RowMajor<float> dw, float* db,
                              float* scratch) {
    blocked(size.n, size.k, size.m, Columns{dy}, InRows{x}, {dw.data, dw.stride}, {.sums = dw, .rounded = {}}, scratch);
    if (db) detail::add_column_sums(dy, size.m, size.n, db);
  }

  /// `forward` for generation, m up to about 16: reads W once, unpacked. Each element is the sum of one register of
  /// partial sums, whatever m, n and the cut are; bits agree between calls of this function only.
  static void forward_few_rows(MatmulSize size, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, RowMajor<Bf16> y) {
    std::size_t j = 0;
    const auto columns = [&]<std::size_t Columns>(std::integral_constant<std::size_t, Columns>) {
      for (; size.n - j >= Columns; j += Columns) {
        std::size_t i = 0;
        for (; size.m - i >= 4; i += 4) dot_products<4, Columns>(size.k, x, w, bias, y, i, j);
        for (; i < size.m; ++i) dot_products<1, Columns>(size.k, x, w, bias, y, i, j);
      }
    };
    columns(std::integral_constant<std::size_t, 4>{});
    columns(std::integral_constant<std::size_t, 1>{});
  }

 private:
  using Tile = detail::RegisterTile<float>;

  /// As Native's, in units. Sums that leave as bf16 alone are kept for so many rows while blocks of the summed index
  /// are added to them.
  struct Block {
    static constexpr std::size_t units = 256, columns = 512, rows = 256;
    static constexpr std::size_t row_stride = units + detail::cache_line<float>;
    static constexpr std::size_t column_stride =
        (Tile::rows + simd_width<float> - 1) / simd_width<float> * simd_width<float>;
    static constexpr std::size_t tile = row_stride * column_stride;
    static constexpr std::size_t depth = units * detail::numbers_in<Unit>;
  };

  /// The left operand as it lies in memory, its rows those of the product, and transposed.
  struct Rows {
    Operand<Bf16> a;
    detail::Left<Unit> pack(std::size_t i, std::size_t rows, std::size_t p, std::size_t depth, Unit* packed) const {
      detail::pack_bf16_rows<Block::row_stride>({a.row(i) + p, a.stride}, rows, depth, packed);
      return {packed, Block::row_stride, 1};
    }
  };
  struct Columns {
    Operand<Bf16> a;
    detail::Left<Unit> pack(std::size_t i, std::size_t rows, std::size_t p, std::size_t depth, Unit* packed) const {
      detail::pack_bf16_columns<Block::column_stride>({a.row(p) + i, a.stride}, depth, rows, packed);
      return {packed, 1, Block::column_stride};
    }
  };
  /// The right operand as it lies in memory, its rows along the summed index, and transposed.
  struct InRows {
    Operand<Bf16> b;
    void pack(std::size_t p, std::size_t depth, std::size_t j, std::size_t columns, Unit* packed) const {
      detail::pack_bf16_panels({b.row(p) + j, b.stride}, depth, columns, packed);
    }
  };
  struct Transposed {
    Operand<Bf16> w;
    void pack(std::size_t p, std::size_t depth, std::size_t j, std::size_t columns, Unit* packed) const {
      detail::pack_bf16_transposed({w.row(j) + p, w.stride}, columns, depth, packed);
    }
  };

  static void blocked(std::size_t rows, std::size_t columns, std::size_t depth, auto a, auto b,
                      detail::Start<float> start, Bf16Result result, float* scratch) {
    const std::size_t widest = std::min((columns + Tile::columns - 1) / Tile::columns * Tile::columns, Block::columns);
    Unit* const a_packed = reinterpret_cast<Unit*>(scratch);
    Unit* const b_packed = a_packed + Block::tile;
    float* const kept = scratch + Block::tile + widest * std::min(detail::units_of<Unit>(depth), Block::units);
    const bool given = result.sums.data != nullptr;
    const std::size_t rows_at_once = given || depth <= Block::depth ? rows : std::min(rows, Block::rows);
    if (depth == 0) return fill(rows, columns, start, result);

    for (std::size_t top = 0; top < rows; top += rows_at_once)
      for (std::size_t j = 0; j < columns; j += Block::columns)
        for (std::size_t p = 0; p < depth; p += Block::depth) {
          const std::size_t height = std::min(rows - top, rows_at_once), width = std::min(columns - j, Block::columns);
          const std::size_t length = std::min(depth - p, Block::depth);
          const bool first = p == 0, last = p + length == depth;
          b.pack(p, length, j, width, b_packed);
          // Tiles of nearly equal height: no tile is much lower than the registers allow.
          const std::size_t tiles = (height + Tile::rows - 1) / Tile::rows;
          for (std::size_t t = 0; t < tiles; ++t) {
            const std::size_t begin = t * height / tiles, tile_rows = (t + 1) * height / tiles - begin, i = top + begin;
            const detail::Left<Unit> a_tile = a.pack(i, tile_rows, p, length, a_packed);
            for (std::size_t l = 0; l < width; l += Tile::columns) {
              const std::size_t n = std::min(width - l, Tile::columns);
              // One block of the summed index alone: the tile is rounded at once, and its sums are needed no more.
              const RowMajor<float> c = given ? RowMajor<float>{result.sums.row(i) + j + l, result.sums.stride}
                                        : first && last ? RowMajor<float>{kept, Tile::columns}
                                                        : RowMajor<float>{kept + begin * widest + l, widest};
              detail::Ahead<float> ahead;
              detail::micro_kernel(tile_rows, detail::units_of<Unit>(length), a_tile,
                                   static_cast<const Unit*>(b_packed + l * detail::units_of<Unit>(length)),
                                   Tile::columns, first ? start.at(i, j + l) : detail::Start<float>{c.data, c.stride},
                                   c.data, c.stride, n, ahead);
              if (last && result.rounded.data)
                round(c, tile_rows, n, {result.rounded.row(i) + j + l, result.rounded.stride});
            }
          }
        }
  }

  static void round(RowMajor<const float> from, std::size_t rows, std::size_t columns, RowMajor<Bf16> to) {
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < columns; c += simd_width<float>) {
        const std::size_t n = std::min(columns - c, simd_width<float>);
        if (n == simd_width<float>)
          store(to.row(r) + c, load(from.row(r) + c));
        else
          store_first(to.row(r) + c, load_first(from.row(r) + c, n), n);
      }
  }

  /// A sum of nothing is its start.
  static void fill(std::size_t rows, std::size_t columns, detail::Start<float> start, Bf16Result result) {
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j) {
        const float value = start.data ? start.scale * *start.at(i, j).data : 0.0f;
        if (result.sums.data) result.sums.row(i)[j] = value;
        if (result.rounded.data) result.rounded.row(i)[j] = Bf16(value);
      }
  }

  template <std::size_t Height, std::size_t Width>
  static void dot_products(std::size_t k, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, RowMajor<Bf16> y,
                           std::size_t i, std::size_t j) {
    constexpr std::size_t step = simd_width<float> * detail::numbers_in<Unit>;
    Simd<float> sum[Height][Width] = {};
    const auto add = [&](std::size_t p, auto read) __attribute__((always_inline)) {
      detail::UnitVector<Unit> weights[Width];
#pragma GCC unroll 4
      for (std::size_t c = 0; c < Width; ++c) weights[c] = read(w.row(j + c) + p);
#pragma GCC unroll 4
      for (std::size_t r = 0; r < Height; ++r) {
        const detail::UnitVector<Unit> input = read(x.row(i + r) + p);
#pragma GCC unroll 4
        for (std::size_t c = 0; c < Width; ++c) sum[r][c] = detail::multiply_add<Unit>(input, weights[c], sum[r][c]);
      }
    };
    std::size_t p = 0;
    for (; p + step <= k; p += step) add(p, detail::read_units<Unit>);
    if (p < k) add(p, [&](const Bf16* from) { return detail::read_first_units<Unit>(from, k - p); });
    for (std::size_t r = 0; r < Height; ++r)
      for (std::size_t c = 0; c < Width; ++c)
        y.row(i + r)[j + c] = Bf16(horizontal_sum(sum[r][c]) + (bias ? float(bias[j + c]) : 0.0f));
  }
};
using Bf16Matmul = Bf16Products<Bf16Unit>;

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
