// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <fathom/backend/cpu/bf16.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/simd.hpp>
#include <type_traits>

/// Loops over contiguous numbers, one vector at a time, with a masked vector for what is left at the end. What is in
/// registers is of type T; memory may hold another type that `load` and `store` know, as bf16 is for float.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// A place in a sweep: the `simd_width<T>` numbers from `begin`.
template <class T>
struct Whole {
  std::size_t begin;

  template <class Stored>
  Simd<T> load(const Stored* p) const {
    return cpu::load(p + begin);
  }
  template <class Memory>
  void store(Memory p, Simd<T> v) const {
    using cpu::store;
    store(p + begin, v);
  }
  /// v in the elements that belong to the sweep, `other` elsewhere.
  Simd<T> select(Simd<T> v, T /*other*/) const { return v; }
};

/// The last place of a sweep: `count` numbers from `begin`, fewer than `simd_width<T>`. Elements beyond them load zero.
template <class T>
struct Remainder {
  std::size_t begin, count;

  template <class Stored>
  Simd<T> load(const Stored* p) const {
    return load_first(p + begin, count);
  }
  template <class Memory>
  void store(Memory p, Simd<T> v) const {
    store_first(p + begin, v, count);
  }
  Simd<T> select(Simd<T> v, T other) const {
    using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    return lane_numbers<T>() < static_cast<Integer>(count) ? v : broadcast(other);
  }
};

/// f(place) for all places of n numbers, in order. The place is a Whole<T> or a Remainder<T>. Always inlined, because
/// sums that f captures stay in registers only then.
template <class T, class F>
[[gnu::always_inline]] inline void sweep(std::size_t n, F f) {
  std::size_t i = 0;
  for (; i + simd_width<T> <= n; i += simd_width<T>) f(Whole<T>{i});
  if (i < n) f(Remainder<T>{i, n - i});
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
