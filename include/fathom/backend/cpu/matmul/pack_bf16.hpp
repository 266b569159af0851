// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/half.hpp>
#include <type_traits>

#include "fathom/backend/cpu/bf16.hpp"
#include "fathom/backend/cpu/matmul/operands.hpp"
#include "fathom/backend/cpu/matmul/unit.hpp"
#include "fathom/backend/cpu/shuffle.hpp"
#include "fathom/backend/cpu/simd.hpp"

/// Copies of bf16 operands as units. `depth` counts numbers of the summed index; the last unit is filled up with zero.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail {

/// bf16 numbers in a unit, and units of `depth` numbers.
template <class Unit>
inline constexpr std::size_t numbers_in = std::is_same_v<Unit, Bf16Pair> ? 2 : 1;
template <class Unit>
constexpr std::size_t units_of(std::size_t depth) {
  return (depth + numbers_in<Unit> - 1) / numbers_in<Unit>;
}

/// A register of units from the neighbours at p.
template <class Unit>
UnitVector<Unit> read_units(const Bf16* p) {
  if constexpr (std::is_same_v<Unit, Bf16Pair>) {
    UnitVector<Unit> v;
    std::memcpy(&v, p, sizeof v);
    return v;
  } else {
    return load(p);
  }
}
/// The same of n numbers, at most a register full, and zeros. Nothing beyond p[n) is touched.
template <class Unit>
UnitVector<Unit> read_first_units(const Bf16* p, std::size_t n) {
  if constexpr (std::is_same_v<Unit, Bf16Pair>) {
    Bf16 numbers[simd_bytes / sizeof(Bf16)]{};
    std::copy_n(p, n, numbers);
    return read_units<Unit>(numbers);
  } else {
    return load_first(p, n);
  }
}

/// Units of two rows of the summed index, `even` and `odd`: n columns, at most a register full, and zeros. A null odd
/// row is zero. Where a unit is one number, there is no odd row.
template <class Unit>
UnitVector<Unit> zip_units(const Bf16* even, const Bf16* odd, std::size_t n) {
  const auto read = [n](const Bf16* p) { return n == simd_width<float> ? load(p) : load_first(p, n); };
  if constexpr (std::is_same_v<Unit, Bf16Pair>) {
    const WordRegister low = (WordRegister)read(even) >> 16, high = odd ? (WordRegister)read(odd) : WordRegister{};
    return (UnitVector<Unit>)(low | high);
  } else {
    return read(even);
  }
}

/// a[rows, depth] with rows of `Stride` units.
template <std::size_t Stride, class Unit>
void pack_bf16_rows(RowMajor<const Bf16> a, std::size_t rows, std::size_t depth, Unit* packed) {
  constexpr std::size_t step = simd_width<float> * numbers_in<Unit>;
  for (std::size_t i = 0; i < rows; ++i) {
    const Bf16* row = a.row(i);
    Unit* out = packed + i * Stride;
    std::size_t p = 0;
    for (; p + step <= depth; p += step, out += simd_width<float>) store_units(out, read_units<Unit>(row + p));
    if (p < depth) store_units(out, read_first_units<Unit>(row + p, depth - p));  // Stride has room for whole registers
  }
}

/// The transpose of a[depth, columns]: unit p of column i at packed[p · Stride + i]; columns <= Stride, whole
/// registers.
template <std::size_t Stride, class Unit>
void pack_bf16_columns(RowMajor<const Bf16> a, std::size_t depth, std::size_t columns, Unit* packed) {
  static_assert(Stride % simd_width<float> == 0);
  for (std::size_t p = 0; p < depth; p += numbers_in<Unit>)
    for (std::size_t v = 0; v < Stride; v += simd_width<float>, packed += simd_width<float>) {
      const std::size_t from = std::min(v, columns), n = std::min(columns - from, simd_width<float>);
      const Bf16* const odd = numbers_in<Unit> == 2 && p + 1 < depth ? a.row(p + 1) + from : nullptr;
      store_units(packed, zip_units<Unit>(a.row(p) + from, odd, n));
    }
}

/// The transpose of w[columns, depth]: unit p of column i at packed[p · Stride + i]; columns <= Stride, whole
/// registers.
template <std::size_t Stride, class Unit>
void pack_bf16_transposed(RowMajor<const Bf16> w, std::size_t columns, std::size_t depth, Unit* packed) {
  constexpr std::size_t width = simd_width<float>, step = width * numbers_in<Unit>;
  for (std::size_t j = 0; j < columns; j += width) {
    const Bf16* rows[width];
    for (std::size_t i = 0; i < width; ++i) rows[i] = w.row(std::min(j + i, columns - 1));
    Unit* out = packed + j;
    const auto square = [&](std::size_t p, std::size_t count, auto read) {
      UnitVector<Unit> v[width];
#pragma GCC unroll 16
      for (std::size_t i = 0; i < width; ++i) v[i] = read(rows[i] + p);
      transpose(v);
      for (std::size_t i = 0; i < count; ++i) store_units(out + i * Stride, v[i]);
    };
    std::size_t p = 0;
    for (; p + step <= depth; p += step, out += width * Stride) square(p, width, read_units<Unit>);
    if (p < depth)
      square(p, units_of<Unit>(depth - p), [&](const Bf16* from) { return read_first_units<Unit>(from, depth - p); });
  }
}

/// The transpose of a[depth, rows] with rows of `Stride` units: unit p of row i at packed[i · Stride + p]. Rows and
/// units are filled up with zeros to whole registers, for which there is room.
template <std::size_t Stride, class Unit>
void pack_bf16_rows_of_transpose(RowMajor<const Bf16> a, std::size_t depth, std::size_t rows, Unit* packed) {
  constexpr std::size_t width = simd_width<float>, numbers = numbers_in<Unit>;
  for (std::size_t i = 0; i < rows; i += width)
    for (std::size_t p = 0; p < depth; p += width * numbers) {
      UnitVector<Unit> v[width] = {};
      for (std::size_t u = 0; u < width && p + u * numbers < depth; ++u) {
        const std::size_t even = p + u * numbers;
        v[u] = zip_units<Unit>(a.row(even) + i, numbers == 2 && even + 1 < depth ? a.row(even + 1) + i : nullptr,
                               std::min(rows - i, width));
      }
      transpose(v);
      for (std::size_t r = 0; r < width; ++r) store_units(packed + (i + r) * Stride + p / numbers, v[r]);
    }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail
