// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/half.hpp>
#include <type_traits>

#include "fathom/backend/cpu/simd.hpp"

/// What a matrix product reads of its operands at a time (a unit), and what it sums up in.
///
/// A float or a double is its own unit. bf16 numbers are multiplied as pairs of neighbours along the summed index,
/// where an instruction does that, or are widened to floats when operands are packed. Either way each product is exact
/// and sums are floats.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Two neighbours along the summed index.
struct Bf16Pair {
  Bf16 first, second;
};

/// What bf16 numbers are multiplied as, unless somebody asks for the other.
#if defined(FATHOM_BF16_PAIRS)
using Bf16Unit = Bf16Pair;
#else
using Bf16Unit = float;
#endif

namespace detail {

template <class Unit>
struct UnitTypes {
  using Sum = Unit;
  using Vector = Simd<Unit>;
};
template <>
struct UnitTypes<Bf16Pair> {
  using Sum = float;
  using Vector = SimdBits<float>;
};

/// What products of units are summed up in.
template <class Unit>
using SumOf = typename UnitTypes<Unit>::Sum;

/// As many units as sums in a register.
template <class Unit>
using UnitVector = typename UnitTypes<Unit>::Vector;

template <class Unit>
UnitVector<Unit> load_units(const Unit* p) {
  UnitVector<Unit> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class Unit>
void store_units(Unit* p, std::type_identity_t<UnitVector<Unit>> v) {
  std::memcpy(static_cast<void*>(p), &v, sizeof v);
}

template <class Unit>
UnitVector<Unit> broadcast_unit(Unit x) {
  if constexpr (std::is_same_v<Unit, Bf16Pair>)
    return std::bit_cast<std::int32_t>(x) + UnitVector<Unit>{};
  else
    return broadcast(x);
}

/// sum + a · b, of pairs sum + a.first · b.first + a.second · b.second.
template <class Unit>
Simd<SumOf<Unit>> multiply_add(UnitVector<Unit> a, UnitVector<Unit> b, Simd<SumOf<Unit>> sum) {
  if constexpr (std::is_same_v<Unit, Bf16Pair>) {
#if FATHOM_SIMD_BITS == 512 && defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#else
    static_assert(!std::is_same_v<Unit, Unit>, "no instruction multiplies pairs of bf16 numbers here");
#endif
  } else {
    return fma(a, b, sum);
  }
}

}  // namespace detail
}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
