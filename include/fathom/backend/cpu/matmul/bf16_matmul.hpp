// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/core/half.hpp>

#include "fathom/backend/cpu/bf16.hpp"
#include "fathom/backend/cpu/matmul/bf16_kernel.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/pack_bf16.hpp"
#include "fathom/backend/cpu/matmul/tiles.hpp"

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

  /// `forward` for generation, m up to about 16: reads W once, unpacked, from its first number to its last. Each
  /// element is the sum of `chains` registers of partial sums, whatever m, n and the cut are; bits agree between calls
  /// of this function only.
  static void forward_few_rows(MatmulSize size, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, RowMajor<Bf16> y) {
    std::size_t i = 0;
    for (; size.m - i >= 4; i += 4) dot_products<4>(size, x, w, bias, y, i);
    for (; i < size.m; ++i) dot_products<1>(size, x, w, bias, y, i);
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

  /// Rows i to i + Height of Y, in ascending order of W's rows.
  template <std::size_t Height>
  static void dot_products(MatmulSize size, Operand<Bf16> x, Operand<Bf16> w, const Bf16* bias, RowMajor<Bf16> y,
                           std::size_t i) {
    using Dot = typename Kernel::DotUnit;
    constexpr std::size_t step = simd_width<float> * detail::numbers_in<Dot>, chains = 4;
    constexpr std::size_t ahead = 8192 / sizeof(Bf16);
    for (std::size_t j = 0; j < size.n; ++j) {
      const Bf16* const weights = w.row(j);
      Simd<float> sum[Height][chains] = {};
      const auto add = [&](std::size_t chain, std::size_t p, auto read) __attribute__((always_inline)) {
        const detail::UnitVector<Dot> weight = read(weights + p);
#pragma GCC unroll 4
        for (std::size_t r = 0; r < Height; ++r)
          sum[r][chain] = detail::multiply_add<Dot>(read(x.row(i + r) + p), weight, sum[r][chain]);
      };
      std::size_t p = 0;
      for (; p + chains * step <= size.k; p += chains * step) {
#pragma GCC unroll 4
        for (std::size_t c = 0; c < chains; ++c) {
          __builtin_prefetch(weights + p + c * step + ahead);
          add(c, p + c * step, detail::read_units<Dot>);
        }
      }
      for (; p + step <= size.k; p += step) add(0, p, detail::read_units<Dot>);
      if (p < size.k) add(0, p, [&](const Bf16* from) { return detail::read_first_units<Dot>(from, size.k - p); });
      for (std::size_t r = 0; r < Height; ++r) {
        const Simd<float> all = (sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]);
        y.row(i + r)[j] = Bf16(horizontal_sum(all) + (bias ? float(bias[j]) : 0.0f));
      }
    }
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
