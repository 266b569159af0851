// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/half.hpp>

#include "fathom/backend/cpu/matmul/micro_kernel.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/pack_bf16.hpp"
#include "fathom/backend/cpu/matmul/unit.hpp"

#if defined(FATHOM_BF16_TILES)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/// Products by a matrix unit that multiplies tiles of 16 rows of 64 bytes: Intel's AMX.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

inline constexpr std::size_t tile_side =
    16;  ///< rows and columns of a tile of sums, pairs of the summed index in a step

/// A kernel (bf16_kernel.hpp) of 32 rows and columns, which are four tiles of sums. `Tiles` is the unit:
///
///   granted()                   whether this program may use it
///   configure(), release()      on this thread; all tiles are whole ones in between
///   zero<Halves>()              the sums of the upper 16 rows, or of all 32, become 0,
///   load<Halves>(from, bytes)   or what lies in memory, rows `bytes` apart;
///   store<Halves>(to, bytes)    they go to memory;
///   step<Halves>(a, bytes, b)   sums += A · B for 16 pairs of the summed index; A's rows lie `bytes` apart, B's 32
///   pairs
///
/// A step's 32 products are summed up first, even and odd ones apart, and then added. Subnormal numbers count as zero.
/// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, TDPBF16PS.
template <class Tiles>
struct TileKernel {
  using Unit = Bf16Pair;
  using DotUnit = Bf16Unit;
  static constexpr std::size_t max_rows = 2 * tile_side, max_columns = 2 * tile_side, padded_rows = max_rows;
  struct Session {
    Session() { Tiles::configure(); }
    ~Session() { Tiles::release(); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
  };

  static constexpr std::size_t units(std::size_t depth) {
    return (detail::units_of<Unit>(depth) + tile_side - 1) / tile_side * tile_side;
  }

  template <std::size_t Stride>
  static detail::Left<Unit> pack_rows(RowMajor<const Bf16> a, std::size_t rows, std::size_t depth, Unit* packed) {
    detail::pack_bf16_rows<Stride>(a, rows, depth, packed);
    return padded<Stride>(packed, rows, depth);
  }
  template <std::size_t Stride>
  static detail::Left<Unit> pack_columns(RowMajor<const Bf16> a, std::size_t depth, std::size_t rows, Unit* packed) {
    detail::pack_bf16_rows_of_transpose<Stride>(a, depth, rows, packed);
    return padded<Stride>(packed, rows, depth);
  }
  static void pack_panel(RowMajor<const Bf16> b, std::size_t depth, std::size_t columns, Unit* packed) {
    detail::pack_bf16_columns<max_columns>(b, depth, columns, packed);
    pad_panel(depth, packed);
  }
  static void pack_panel_of_transpose(RowMajor<const Bf16> w, std::size_t columns, std::size_t depth, Unit* packed) {
    detail::pack_bf16_transposed<max_columns>(w, columns, depth, packed);
    pad_panel(depth, packed);
  }

  static void run(std::size_t rows, std::size_t units, detail::Left<Unit> a, const Unit* b, detail::Start<float> start,
                  RowMajor<float> c, std::size_t columns) {
    rows > tile_side ? run<2>(rows, units, a, b, start, c, columns) : run<1>(rows, units, a, b, start, c, columns);
  }

 private:
  template <int Halves>
  static void run(std::size_t rows, std::size_t units, detail::Left<Unit> a, const Unit* b, detail::Start<float> start,
                  RowMajor<float> c, std::size_t columns) {
    const bool whole = rows == Halves * tile_side && columns == max_columns;
    if (whole && (start.data == nullptr || start.scale == 1)) return steps<Halves>(units, a, b, start, c);

    alignas(64) float sums[max_rows * max_columns]{};
    const RowMajor<float> tile{sums, max_columns};
    for (std::size_t i = 0; start.data != nullptr && i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j) tile.row(i)[j] = start.scale * start.data[i * start.stride + j];
    steps<Halves>(units, a, b, {tile.data, tile.stride}, tile);
    for (std::size_t i = 0; i < rows; ++i) std::copy_n(tile.row(i), columns, c.row(i));
  }

  /// C = start + A · B, of whole tiles; a start has the scale 1.
  template <int Halves>
  static void steps(std::size_t units, detail::Left<Unit> a, const Unit* b, detail::Start<float> start,
                    RowMajor<float> c) {
    if (start.data == nullptr)
      Tiles::template zero<Halves>();
    else
      Tiles::template load<Halves>(start.data, start.stride * sizeof(float));
    for (std::size_t u = 0; u < units; u += tile_side)
      Tiles::template step<Halves>(a.data + u, a.row * sizeof(Unit), b + u * max_columns);
    Tiles::template store<Halves>(c.data, c.stride * sizeof(float));
  }

  /// Packing fills whole registers; steps read whole tiles. Zeros on both sides, as zero times what lies there may be
  /// no number. Rows that are not there give sums that nobody reads.
  template <std::size_t Stride>
  static detail::Left<Unit> padded(Unit* packed, std::size_t rows, std::size_t depth) {
    const std::size_t used = detail::units_of<Unit>(depth);
    for (std::size_t i = 0; i < rows; ++i) std::fill_n(packed + i * Stride + used, units(depth) - used, Unit{});
    return {packed, Stride, 1};
  }
  static void pad_panel(std::size_t depth, Unit* packed) {
    const std::size_t used = detail::units_of<Unit>(depth);
    std::fill_n(packed + used * max_columns, (units(depth) - used) * max_columns, Unit{});
  }
};

#if defined(FATHOM_BF16_TILES)
/// The processor's own. Linux grants it to a process that asks.
struct AmxTiles {
  static bool granted() {
    constexpr unsigned features = 1u << 22 | 1u << 24;  // AMX-BF16, AMX-TILE
    constexpr long request_permission = 0x1023, tile_data = 18;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & features) != features) return false;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  }

  static void configure() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const tiles;
    static_assert(sizeof tiles == 64);
    memory_is_written();
    _tile_loadconfig(&tiles);
  }
  static void release() { _tile_release(); }

  // The compiler's functions for tiles want their numbers as literals, and do not say that they read and write memory.
  // Sums are tiles 0 to 3, row by row; A is 4 and 5, B 6 and 7.
  template <int Halves>
  static void zero() {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (Halves == 2) {
      _tile_zero(2);
      _tile_zero(3);
    }
    memory_is_written();
  }
  template <int Halves>
  static void load(const float* from, std::size_t bytes) {
    memory_is_written();
    _tile_loadd(0, from, bytes);
    _tile_loadd(1, from + tile_side, bytes);
    if constexpr (Halves == 2) {
      const float* const lower = from + tile_side * bytes / sizeof(float);
      _tile_loadd(2, lower, bytes);
      _tile_loadd(3, lower + tile_side, bytes);
    }
  }
  template <int Halves>
  static void store(float* to, std::size_t bytes) {
    _tile_stored(0, to, bytes);
    _tile_stored(1, to + tile_side, bytes);
    if constexpr (Halves == 2) {
      float* const lower = to + tile_side * bytes / sizeof(float);
      _tile_stored(2, lower, bytes);
      _tile_stored(3, lower + tile_side, bytes);
    }
    memory_is_written();
  }
  template <int Halves>
  static void step(const Bf16Pair* a, std::size_t bytes, const Bf16Pair* b) {
    constexpr std::size_t b_bytes = 2 * tile_side * sizeof(Bf16Pair);
    _tile_loadd(6, b, b_bytes);
    _tile_loadd(4, a, bytes);
    _tile_loadd(7, b + tile_side, b_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (Halves == 2) {
      _tile_loadd(5, a + tile_side * bytes / sizeof(Bf16Pair), bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }

 private:
  static void memory_is_written() { asm volatile("" ::: "memory"); }
};
#endif

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
