// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fathom/backend/cpu/config.hpp"
#include "fathom/backend/cpu/simd.hpp"

/// What moves numbers between the elements of registers: chunks of 16 bytes, transposition, sums and maxima of all
/// elements.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// The elements in the order Index…; counted through a, then through b.
template <int... Index, class V>
V shuffle(V a, V b) {
  return __builtin_shufflevector(a, b, Index...);
}

/// Numbers in a chunk: 16 bytes, the unit in which instructions broadcast and shuffle.
template <class T>
inline constexpr std::size_t chunk = 16 / sizeof(T);

/// p[0 … chunk) in every chunk, no alignment needed.
template <class T>
Simd<T> broadcast_chunk(const T* p) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<T, float>)
    return _mm512_maskz_broadcast_f32x4(0xffff, _mm_loadu_ps(p));
  else
    return _mm512_maskz_broadcast_f64x2(0xff, _mm_loadu_pd(p));
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<T, float>)
    return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
  else
    return _mm256_broadcast_pd(reinterpret_cast<const __m128d*>(p));
#else
  return load(p);
#endif
}

/// The same of p[0 … n), n <= chunk, and zeros. Nothing beyond p[n) is touched.
template <class T>
Simd<T> broadcast_chunk(const T* p, std::size_t n) {
  if (n == chunk<T>) return broadcast_chunk(p);
  T numbers[chunk<T>]{};
  for (std::size_t i = 0; i < n; ++i) numbers[i] = p[i];
  return broadcast_chunk(numbers);
}

/// p[0 … chunk) = the Index-th chunk of v, no alignment needed.
template <std::size_t Index, class T>
void store_chunk(T* p, std::type_identity_t<Simd<T>> v) {
  const auto part = [&]<std::size_t... Each>(std::index_sequence<Each...>) {
    return __builtin_shufflevector(v, v, int(Index * chunk<T> + Each)...);
  }(std::make_index_sequence<chunk<T>>{});
  std::memcpy(p, &part, sizeof part);
}

namespace detail {
/// One step of a transposition: the elements 0, 2, … of a, then of b, into `a`; the elements 1, 3, … into `b`, if
/// Unzip. Else the lower halves of a and b alternately into `a`, the upper into `b`. Elements are units of `Unit`
/// numbers, and nothing leaves its span of `Span` numbers.
template <bool Unzip, int Unit, int Span, class V>
void exchange(V& a, V& b) {
  [&]<int... Each>(std::integer_sequence<int, Each...>) {
    constexpr auto source = [](int i, int second) {
      constexpr int n = sizeof...(Each), half = Span / Unit / 2;
      const int unit = i % Span / Unit;
      const int other = Unzip ? unit / half : unit % 2;
      const int from = Unzip ? unit % half * 2 + second : unit / 2 + second * half;
      return other * n + i / Span * Span + from * Unit + i % Unit;
    };
    const V x = a, y = b;
    a = shuffle<source(Each, 0)...>(x, y);
    b = shuffle<source(Each, 1)...>(x, y);
  }(std::make_integer_sequence<int, sizeof(V) / sizeof(a[0])>{});
}
}  // namespace detail

/// Transposes a square of registers: first the small squares in spans of 16 bytes, then these squares; each step is
/// one instruction of x86. Always inlined, so that they stay in registers.
template <class V, std::size_t Count>
[[gnu::always_inline]] inline void transpose(V (&rows)[Count]) {
  constexpr int count = Count, span = 16 / sizeof(rows[0][0]);
#pragma GCC unroll 16
  for (int i = 0; i < count; i += 2) detail::exchange<false, 1, span>(rows[i], rows[i + 1]);
  if constexpr (span == 4) {
#pragma GCC unroll 16
    for (int i = 0; i < count; i += 4) {
      detail::exchange<false, 2, span>(rows[i], rows[i + 2]);
      detail::exchange<false, 2, span>(rows[i + 1], rows[i + 3]);
      std::swap(rows[i + 1], rows[i + 2]);
    }
  }
  if constexpr (count > span) {
#pragma GCC unroll 16
    for (int i = 0; i < span; ++i) {
#pragma GCC unroll 16
      for (int j = i; j < count; j += 2 * span) detail::exchange<true, span, count>(rows[j], rows[j + span]);
      if constexpr (count == 4 * span) {
        detail::exchange<true, span, count>(rows[i], rows[i + 2 * span]);
        detail::exchange<true, span, count>(rows[i + span], rows[i + 3 * span]);
      }
    }
  }
}

namespace detail {
/// Combines all elements pairwise, first the most distant: the same tree for every value.
template <class V, class Combine>
auto reduce(V v, Combine combine) {
  constexpr int count = sizeof(V) / sizeof(v[0]);
  const auto step = [&]<int Distance, int... Each>(std::integral_constant<int, Distance>,
                                                   std::integer_sequence<int, Each...>) {
    v = combine(v, shuffle<(Each ^ Distance)...>(v, v));
  };
  constexpr std::make_integer_sequence<int, count> all;
  if constexpr (count > 8) step(std::integral_constant<int, 8>{}, all);
  if constexpr (count > 4) step(std::integral_constant<int, 4>{}, all);
  if constexpr (count > 2) step(std::integral_constant<int, 2>{}, all);
  step(std::integral_constant<int, 1>{}, all);
  return v[0];
}
}  // namespace detail

/// The sum of the elements, always added in the same order.
template <class V>
auto horizontal_sum(V v) {
  return detail::reduce(v, [](V a, V b) { return a + b; });
}

namespace detail {
/// Adds the elements of a, then of b, that are Distance apart within Span: half of a's sums and half of b's alternate
/// in the spans of the result. One instruction of x86 for each operand, and the sum.
template <int Distance, int Span, class V>
V fold(V a, V b) {
  return [&]<int... Each>(std::integer_sequence<int, Each...>) {
    constexpr auto source = [](int i, int second) {
      constexpr int n = sizeof...(Each);
      const int place = i % (Span / 2);
      return i % Span / (Span / 2) * n + i / Span * Span + place / Distance * 2 * Distance + place % Distance +
             second * Distance;
    };
    return shuffle<source(Each, 0)...>(a, b) + shuffle<source(Each, 1)...>(a, b);
  }(std::make_integer_sequence<int, sizeof(V) / sizeof(a[0])>{});
}

/// Folds Count registers pairwise, down to one.
template <int Distance, std::size_t Count, class V>
[[gnu::always_inline]] inline V fold_all(const V (&v)[Count]) {
  constexpr int elements = sizeof(V) / sizeof(v[0][0]), bytes = 16 / sizeof(v[0][0]);
  if constexpr (Count == 1) {
    return v[0];
  } else {
    V half[Count / 2];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < Count / 2; ++i)
      half[i] = fold<Distance, (Distance < bytes ? bytes : elements)>(v[2 * i], v[2 * i + 1]);
    return fold_all<Distance / 2>(half);
  }
}
}  // namespace detail

/// Element i is horizontal_sum(v[i]), bit for bit, at a fraction of its cost: all sums share their shuffles.
template <class T>
[[gnu::always_inline]] inline Simd<T> horizontal_sums(const Simd<T> (&v)[simd_width<T>]) {
  constexpr std::size_t count = simd_width<T>, span = chunk<T>, spans = count / span;
  Simd<T> ordered[count];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < count; ++i) ordered[i] = v[i % spans * span + i / spans];
  return detail::fold_all<count / 2>(ordered);
}

/// In each chunk the sums of that chunk of v[0], v[1] …
template <class T>
[[gnu::always_inline]] inline Simd<T> chunk_sums(const Simd<T> (&v)[chunk<T>]) {
  return detail::fold_all<int(chunk<T> / 2)>(v);
}

/// The greatest element.
template <class V>
auto horizontal_max(V v) {
  return detail::reduce(v, [](V a, V b) { return max(a, b); });
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
