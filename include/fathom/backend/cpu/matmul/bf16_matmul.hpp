// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/core/half.hpp>

#include "fathom/backend/cpu/bf16.hpp"
#include "fathom/backend/cpu/matmul/bf16_kernel.hpp"
#include "fathom/backend/cpu/matmul/few_rows.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/pack.hpp"
#include "fathom/backend/cpu/matmul/pack_bf16.hpp"
#include "fathom/backend/cpu/matmul/tiles.hpp"
#include "fathom/backend/cpu/sweep.hpp"

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Where a product of bf16 matrices goes: as its float sums, rounded to bf16, or both. A null one is not wanted.
struct Bf16Result {
  RowMajor<float> sums;
  RowMajor<Bf16> rounded;
};

/// Native's products for bf16 operands: the same blocks, and the kernel that is named (bf16_kernel.hpp). Products are
/// exact, sums are floats and are rounded to bf16 at most once, at their end.
///
/// Every element of a result is one chain of sums in ascending order of the summed index, begun at its start value, so
/// its bits do not depend on how a caller cuts the rows or columns of a result. They do depend on the processor: one
/// instruction adds one product, another two or 32, and those for several take subnormal numbers for zero.
///
/// All calls run on the calling thread. `scratch` is `scratch_size` floats, best aligned to 64 bytes, one per thread.
/// Outputs must not overlap inputs except where said.
template <class Kernel>
struct Bf16Products {
  using Unit = typename Kernel::Unit;
  static constexpr std::size_t row_granularity = 1;

  /// How many floats of scratch any call needs whose m, n and k are at most those of `largest`.
  static constexpr std::size_t scratch_size(MatmulSize largest) {
    const std::size_t widest = std::max(largest.n, largest.k), longest = std::max({largest.m, largest.n, largest.k});
    const std::size_t columns = std::min(whole_panels(widest), Block::columns);
    return whole_panels(largest.n) + Block::tile + columns * std::min(Kernel::units(longest), Block::units) +
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
      scratch += whole_panels(size.n);
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

  /// `forward` for generation, m up to about 16: reads W once, unpacked. The sums are taken in one order for m below
  /// `fewest_together` and in another from there on, the same for every n and cut of the columns: bits agree between
  /// calls of this function only.
  static void forward_few_rows(MatmulSize size, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, RowMajor<Bf16> y) {
    if (size.m < detail::fewest_together) return row_by_row(size, x, w, bias, y);
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
  static constexpr std::size_t whole_panels(std::size_t columns) {
    return (columns + Kernel::max_columns - 1) / Kernel::max_columns * Kernel::max_columns;
  }

  /// As Native's, in units. Sums that leave as bf16 alone are kept for so many rows while blocks of the summed index
  /// are added to them.
  struct Block {
    static constexpr std::size_t units = 256, columns = 512, rows = 256;
    static constexpr std::size_t row_stride = units + detail::cache_line<float>;
    static constexpr std::size_t tile = row_stride * Kernel::padded_rows;
    static constexpr std::size_t depth = units * detail::numbers_in<Unit>;
  };

  /// The left operand as it lies in memory, its rows those of the product, and transposed.
  struct Rows {
    Operand<Bf16> a;
    detail::Left<Unit> pack(std::size_t i, std::size_t rows, std::size_t p, std::size_t depth, Unit* packed) const {
      return Kernel::template pack_rows<Block::row_stride>({a.row(i) + p, a.stride}, rows, depth, packed);
    }
  };
  struct Columns {
    Operand<Bf16> a;
    detail::Left<Unit> pack(std::size_t i, std::size_t rows, std::size_t p, std::size_t depth, Unit* packed) const {
      return Kernel::template pack_columns<Block::row_stride>({a.row(p) + i, a.stride}, depth, rows, packed);
    }
  };
  /// The right operand as it lies in memory, its rows along the summed index, and transposed.
  struct InRows {
    Operand<Bf16> b;
    void pack(std::size_t p, std::size_t depth, std::size_t j, std::size_t columns, Unit* packed) const {
      for (std::size_t c = 0; c < columns;
           c += Kernel::max_columns, packed += Kernel::max_columns * Kernel::units(depth))
        Kernel::pack_panel({b.row(p) + j + c, b.stride}, depth, std::min(columns - c, Kernel::max_columns), packed);
    }
  };
  struct Transposed {
    Operand<Bf16> w;
    void pack(std::size_t p, std::size_t depth, std::size_t j, std::size_t columns, Unit* packed) const {
      for (std::size_t c = 0; c < columns;
           c += Kernel::max_columns, packed += Kernel::max_columns * Kernel::units(depth))
        Kernel::pack_panel_of_transpose({w.row(j + c) + p, w.stride}, std::min(columns - c, Kernel::max_columns), depth,
                                        packed);
    }
  };

  static void blocked(std::size_t rows, std::size_t columns, std::size_t depth, auto a, auto b,
                      detail::Start<float> start, Bf16Result result, float* scratch) {
    const std::size_t widest = std::min(whole_panels(columns), Block::columns);
    Unit* const a_packed = reinterpret_cast<Unit*>(scratch);
    Unit* const b_packed = a_packed + Block::tile;
    float* const kept = scratch + Block::tile + widest * std::min(Kernel::units(depth), Block::units);
    const bool given = result.sums.data != nullptr;
    const std::size_t rows_at_once = given || depth <= Block::depth ? rows : std::min(rows, Block::rows);
    if (depth == 0) return fill(rows, columns, start, result);
    [[maybe_unused]] const typename Kernel::Session session;

    for (std::size_t top = 0; top < rows; top += rows_at_once)
      for (std::size_t j = 0; j < columns; j += Block::columns)
        for (std::size_t p = 0; p < depth; p += Block::depth) {
          const std::size_t height = std::min(rows - top, rows_at_once), width = std::min(columns - j, Block::columns);
          const std::size_t length = std::min(depth - p, Block::depth);
          const bool first = p == 0, last = p + length == depth;
          b.pack(p, length, j, width, b_packed);
          // Tiles of nearly equal height: no tile is much lower than the registers allow.
          const std::size_t tiles = (height + Kernel::max_rows - 1) / Kernel::max_rows;
          for (std::size_t t = 0; t < tiles; ++t) {
            const std::size_t begin = t * height / tiles, tile_rows = (t + 1) * height / tiles - begin, i = top + begin;
            const detail::Left<Unit> a_tile = a.pack(i, tile_rows, p, length, a_packed);
            for (std::size_t l = 0; l < width; l += Kernel::max_columns) {
              const std::size_t n = std::min(width - l, Kernel::max_columns);
              // One block of the summed index alone: the tile is rounded at once, and its sums are needed no more.
              const RowMajor<float> c = given ? RowMajor<float>{result.sums.row(i) + j + l, result.sums.stride}
                                        : first && last ? RowMajor<float>{kept, Kernel::max_columns}
                                                        : RowMajor<float>{kept + begin * widest + l, widest};
              Kernel::run(tile_rows, Kernel::units(length), a_tile, b_packed + l * Kernel::units(length),
                          first ? start.at(i, j + l) : detail::Start<float>{c.data, c.stride}, c, n);
              if (last && result.rounded.data)
                round(c, tile_rows, n, {result.rounded.row(i) + j + l, result.rounded.stride});
            }
          }
        }
  }

  static void round(RowMajor<const float> from, std::size_t rows, std::size_t columns, RowMajor<Bf16> to) {
    for (std::size_t r = 0; r < rows; ++r)
      sweep<float>(columns, [&](auto place) { place.store(to.row(r), place.load(from.row(r))); });
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

  static float biased(float sum, const Bf16* bias, std::size_t j) { return sum + (bias ? float(bias[j]) : 0.0f); }

  /// For m so low that reading W is all that takes time: W goes by in one stream, from its first number to its last. A
  /// sum is that of four registers.
  static void row_by_row(MatmulSize size, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, RowMajor<Bf16> y) {
    using Dot = typename Kernel::DotUnit;
    constexpr std::size_t step = simd_width<float> * detail::numbers_in<Dot>, chains = 4;
    constexpr std::size_t ahead = 8192 / sizeof(Bf16);
    for (std::size_t j = 0; j < size.n; ++j)
      for (std::size_t i = 0; i < size.m; ++i) {
        const Bf16 *const weights = w.row(j), *const input = x.row(i);
        Simd<float> sum[chains] = {};
        const auto add = [&](std::size_t chain, std::size_t p, auto read) __attribute__((always_inline)) {
          sum[chain] = detail::multiply_add<Dot>(read(input + p), read(weights + p), sum[chain]);
        };
        std::size_t p = 0;
        for (; p + chains * step <= size.k; p += chains * step) {
#pragma GCC unroll 4
          for (std::size_t c = 0; c < chains; ++c) {
            if (i == 0) __builtin_prefetch(weights + p + c * step + ahead);
            add(c, p + c * step, detail::read_units<Dot>);
          }
        }
        for (; p + step <= size.k; p += step) add(0, p, detail::read_units<Dot>);
        if (p < size.k) add(0, p, [&](const Bf16* from) { return detail::read_first_units<Dot>(from, size.k - p); });
        y.row(i)[j] = Bf16(biased(horizontal_sum((sum[0] + sum[1]) + (sum[2] + sum[3])), bias, j));
      }
  }

  /// A part of Y, Height x Width, from row i and column j; a sum is that of one register.
  template <std::size_t Height, std::size_t Width>
  static void dot_products(std::size_t k, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, RowMajor<Bf16> y,
                           std::size_t i, std::size_t j) {
    using Dot = typename Kernel::DotUnit;
    constexpr std::size_t step = simd_width<float> * detail::numbers_in<Dot>;
    Simd<float> sum[Height][Width] = {};
    const auto add = [&](std::size_t p, auto read) __attribute__((always_inline)) {
      detail::UnitVector<Dot> weights[Width];
#pragma GCC unroll 4
      for (std::size_t c = 0; c < Width; ++c) weights[c] = read(w.row(j + c) + p);
#pragma GCC unroll 4
      for (std::size_t r = 0; r < Height; ++r) {
        const detail::UnitVector<Dot> input = read(x.row(i + r) + p);
#pragma GCC unroll 4
        for (std::size_t c = 0; c < Width; ++c) sum[r][c] = detail::multiply_add<Dot>(input, weights[c], sum[r][c]);
      }
    };
    std::size_t p = 0;
    for (; p + step <= k; p += step) {
#pragma GCC unroll 4
      for (std::size_t c = 0; c < Width; ++c) __builtin_prefetch(w.row(j + 2 * Width + c) + p);
      add(p, detail::read_units<Dot>);
    }
    if (p < k) add(p, [&](const Bf16* from) { return detail::read_first_units<Dot>(from, k - p); });
    for (std::size_t r = 0; r < Height; ++r)
      for (std::size_t c = 0; c < Width; ++c)
        y.row(i + r)[j + c] = Bf16(biased(horizontal_sum(sum[r][c]), bias, j + c));
  }
};

/// Products by a kernel for tiles where the system grants them, else by one for registers: they differ in the order of
/// sums. Asked once, at the first product.
template <class Tiles>
struct Bf16ProductsByTiles {
  using InTiles = Bf16Products<TileKernel<Tiles>>;
  using InRegisters = Bf16Products<RegisterKernel<Bf16Unit>>;
  static constexpr std::size_t row_granularity = 1;

  static constexpr std::size_t scratch_size(MatmulSize largest) {
    return std::max(InTiles::scratch_size(largest), InRegisters::scratch_size(largest));
  }
  static void forward(MatmulSize size, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, Bf16Result y,
                      float* scratch) {
    granted() ? InTiles::forward(size, x, w, bias, y, scratch) : InRegisters::forward(size, x, w, bias, y, scratch);
  }
  static void input_gradient(MatmulSize size, Operand<Bf16> dy, Operand<Bf16> w, Operand<float> skip, float scale,
                             Bf16Result dx, float* scratch) {
    granted() ? InTiles::input_gradient(size, dy, w, skip, scale, dx, scratch)
              : InRegisters::input_gradient(size, dy, w, skip, scale, dx, scratch);
  }
  static void weight_gradient(MatmulSize size, Operand<Bf16> dy, Operand<Bf16> x, RowMajor<float> dw, float* db,
                              float* scratch) {
    granted() ? InTiles::weight_gradient(size, dy, x, dw, db, scratch)
              : InRegisters::weight_gradient(size, dy, x, dw, db, scratch);
  }
  static void forward_few_rows(MatmulSize size, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, RowMajor<Bf16> y) {
    InRegisters::forward_few_rows(size, x, w, bias, y);
  }

 private:
  static bool granted() {
    static const bool yes = Tiles::granted();
    return yes;
  }
};

#if defined(FATHOM_BF16_TILES)
using Bf16Matmul = Bf16ProductsByTiles<AmxTiles>;
#else
using Bf16Matmul = Bf16Products<RegisterKernel<Bf16Unit>>;
#endif

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
