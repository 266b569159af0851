// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "fathom/backend/cpu/matmul/unit.hpp"
#include "fathom/backend/cpu/matmul/upcoming.hpp"
#include "fathom/backend/cpu/simd.hpp"

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail {

/// The part of C that one micro-kernel call keeps in registers.
/// 14 x 2 accumulators, two vectors of B and a broadcast of A fill the 32 registers of AVX-512; 6 x 2 the 16 of AVX2.
template <class T>
struct RegisterTile {
  static constexpr std::size_t rows = FATHOM_SIMD_BITS == 512 ? 14 : 6;
  static constexpr std::size_t vectors = 2;
  static constexpr std::size_t columns = vectors * simd_width<T>;
};

/// What the accumulators of a product begin with: scale·data, row i at data + i·stride; zero when data is null.
/// Stride 0 repeats one row (a bias).
template <class T>
struct Start {
  const T* data = nullptr;
  std::size_t stride = 0;
  T scale = 1;

  Start at(std::size_t row, std::size_t column) const {
    return data ? Start{data + row * stride + column, stride, scale} : *this;
  }
};

/// The left operand of a product: A(i, p) = data[i·row + p·column]. One of the steps is 1.
template <class T>
struct Left {
  const T* data;
  std::size_t row, column;

  Left at(std::size_t i, std::size_t p) const { return {data + i * row + p * column, row, column}; }
};

/// C[Rows, columns] = start + A[Rows, depth]·B[depth, columns] of units, each element one chain of `multiply_add` over
/// ascending depth. B(p, j) is b[p·b_step + j] and is read for j < RegisterTile::columns whatever `columns` is. start
/// may be C itself. Meanwhile it fetches what it comes to of `ahead`, in that order; the operands' lines it takes off
/// there.
template <std::size_t Rows, class Unit, class T = SumOf<Unit>>
void micro_kernel(std::size_t depth, Left<Unit> a, const Unit* b, std::size_t b_step, Start<T> start, T* c,
                  std::size_t c_stride, std::size_t columns, Ahead<T>& ahead) {
  constexpr std::size_t vectors = RegisterTile<T>::vectors;
  constexpr std::size_t width = simd_width<T>, prefetch_steps = 16;
  // 28 cycles: more quickly, lines queue; more slowly, a call of depth 64 does not come to the end of the next C. Tiles of
  // narrower registers are few lines of C, which are fetched at once, and calls too short to fetch operands.
  constexpr std::size_t steps_per_line = FATHOM_SIMD_BITS == 512 ? 2 : 0;
  const bool full = columns == RegisterTile<T>::columns;
  const auto valid = [&](std::size_t v) { return std::min(columns - std::min(columns, v * width), width); };

  Simd<T> sum[Rows][vectors];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (std::size_t v = 0; v < vectors; ++v) sum[i][v] = Simd<T>{};
  if (start.data && start.stride == 0) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < vectors; ++v) {
      const T* p = start.data + v * width;
      const Simd<T> row = start.scale * (full ? load(p) : load_first(p, valid(v)));
#pragma GCC unroll 16
      for (std::size_t i = 0; i < Rows; ++i) sum[i][v] = row;
    }
  } else if (start.data) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 16
      for (std::size_t v = 0; v < vectors; ++v) {
        const T* p = start.data + i * start.stride + v * width;
        sum[i][v] = start.scale * (full ? load(p) : load_first(p, valid(v)));
      }
  }

  // An address of x86 is a register plus another one times 1, 2, 4 or 8: with a row's step, its triple and its fivefold
  // in registers, seven rows are reached from one pointer.
  constexpr std::size_t reached = 7;
  const std::size_t triple = 3 * a.row;
  const std::size_t steps[reached] = {0, a.row, 2 * a.row, triple, 4 * a.row, 5 * a.row, 2 * triple};
  const Unit* first = a.data;
  const Unit* second = a.data + reached * a.row;
  const auto step = [&]() __attribute__((always_inline)) {
    // The last row of A stands for all: where A's columns are the rows of dY, which lie far apart, a tile's part of them
    // is a line or two, and the tile before had the first. B comes from L2 or beyond, in rows far apart.
    __builtin_prefetch(first + prefetch_steps * a.column + (Rows - 1) * a.row);
#pragma GCC unroll 16
    for (std::size_t v = 0; v < vectors; ++v) __builtin_prefetch(b + prefetch_steps * b_step + v * width);
    UnitVector<Unit> row[vectors];
#pragma GCC unroll 16
    for (std::size_t v = 0; v < vectors; ++v) row[v] = load_units(b + v * width);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < Rows; ++i) {
      const Unit* const from = i < reached ? first : second;
      const UnitVector<Unit> x = broadcast_unit(from[steps[i % reached]]);
#pragma GCC unroll 16
      for (std::size_t v = 0; v < vectors; ++v) sum[i][v] = multiply_add<Unit>(x, row[v], sum[i][v]);
    }
    first += a.column, second += a.column, b += b_step;
  };
  std::size_t done = 0;
  for (Upcoming<T> c_ahead = ahead.c; c_ahead.rows() > 0 && done + steps_per_line <= depth; done += steps_per_line) {
    c_ahead.fetch_line_to_write();
#pragma GCC unroll 1
    for (std::size_t s = 0; s < steps_per_line; ++s) step();
  }
  if constexpr (steps_per_line > 0)
    for (Upcoming<T>& operand : ahead.operands) {
      Upcoming<T> in_registers = operand;
      for (; in_registers.rows() > 0 && done + steps_per_line <= depth; done += steps_per_line) {
        in_registers.fetch_line_to_read();
#pragma GCC unroll 1
        for (std::size_t s = 0; s < steps_per_line; ++s) step();
      }
      operand = in_registers;
    }
  for (; done < depth; ++done) step();

#pragma GCC unroll 16
  for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (std::size_t v = 0; v < vectors; ++v) {
      T* p = c + i * c_stride + v * width;
      if (full)
        store(p, sum[i][v]);
      else
        store_first(p, sum[i][v], valid(v));
    }
}

/// `micro_kernel` for a number of rows known at run time, 1 … RegisterTile::rows.
template <class Unit, class T = SumOf<Unit>>
void micro_kernel(std::size_t rows, std::size_t depth, Left<Unit> a, const Unit* b, std::size_t b_step, Start<T> start,
                  T* c, std::size_t c_stride, std::size_t columns, Ahead<T>& ahead) {
  [&]<std::size_t... R>(std::index_sequence<R...>) {
    using Kernel =
        void (*)(std::size_t, Left<Unit>, const Unit*, std::size_t, Start<T>, T*, std::size_t, std::size_t, Ahead<T>&);
    static constexpr Kernel kernels[] = {&micro_kernel<R + 1, Unit>...};
    kernels[rows - 1](depth, a, b, b_step, start, c, c_stride, columns, ahead);
  }(std::make_index_sequence<RegisterTile<T>::rows>{});
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail
