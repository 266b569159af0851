// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fathom/core/config.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

/// One vector register, as wide as the instruction set allows, on the vector extensions of GCC and clang.
///
/// `Simd<T>` has the operators of T (`+ - * /`, unary minus, a scalar operand is broadcast). Comparisons give a
/// `SimdBits<T>` whose lanes are all ones or all zeros, and `mask ? a : b` selects lane by lane. `&`, `|`, `<<` work on
/// `SimdBits<T>`. A lane is read with `v[i]`. This header adds what the extensions lack.
namespace fathom::inline FATHOM_ABI::cpu {

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define FATHOM_SIMD_BITS 512
#elif defined(__AVX2__) && defined(__FMA__)
#define FATHOM_SIMD_BITS 256
#else
#define FATHOM_SIMD_BITS 128
#endif

inline constexpr std::size_t simd_bytes = FATHOM_SIMD_BITS / 8;

/// How many T one register holds.
template <class T>
inline constexpr std::size_t lanes = simd_bytes / sizeof(T);

namespace detail {
template <class T>
struct SimdTypes;
template <>
struct SimdTypes<float> {
  using Vector [[gnu::vector_size(simd_bytes)]] = float;
  using Bits [[gnu::vector_size(simd_bytes)]] = std::int32_t;
};
template <>
struct SimdTypes<double> {
  using Vector [[gnu::vector_size(simd_bytes)]] = double;
  using Bits [[gnu::vector_size(simd_bytes)]] = std::int64_t;
};
}  // namespace detail

/// `lanes<T>` numbers, T = float or double.
template <class T>
using Simd = typename detail::SimdTypes<T>::Vector;

/// As many signed integers of the same width: the result of a comparison, and the bit patterns of a `Simd<T>`.
template <class T>
using SimdBits = typename detail::SimdTypes<T>::Bits;

/// All lanes x.
template <class T>
Simd<T> broadcast(T x) {
  return x - Simd<T>{};  // and not `x + Simd<T>{}`, which would turn -0 into +0
}

/// p[0 … lanes), no alignment needed.
template <class T>
Simd<T> load(const T* p) {
  Simd<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

/// Hides from the compiler where v came from. g++ tuned for Zen 3 otherwise prefers to read a vector from memory again
/// at each use, and a loop with few fma per load becomes bound by its loads.
template <class V>
void keep_in_register(V& v) {
#if FATHOM_SIMD_BITS == 512
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#else
  static_cast<void>(v);
#endif
}

/// p[0 … lanes) = v, no alignment needed.
template <class T>
void store(T* p, std::type_identity_t<Simd<T>> v) {
  std::memcpy(p, &v, sizeof v);
}

#if FATHOM_SIMD_BITS == 256
namespace detail {
/// All ones in lanes [0, n).
template <class T>
__m256i first_lanes(std::size_t n) {
  using Lane = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  return []<std::size_t... I>(Lane count, std::index_sequence<I...>) {
    return (__m256i)(SimdBits<T>{static_cast<Lane>(I)...} < count);
  }(static_cast<Lane>(n), std::make_index_sequence<lanes<T>>{});
}
}  // namespace detail
#endif

/// p[0 … n) in the first n lanes, zero in the others; n <= lanes. Nothing beyond p[n) is touched.
template <class T>
Simd<T> load_first(const T* p, std::size_t n) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<T, float>)
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
  else
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<T, float>)
    return _mm256_maskload_ps(p, detail::first_lanes<T>(n));
  else
    return _mm256_maskload_pd(p, detail::first_lanes<T>(n));
#else
  Simd<T> v{};
  std::memcpy(&v, p, n * sizeof(T));
  return v;
#endif
}

/// p[0 … n) = the first n lanes of v; n <= lanes. Nothing beyond p[n) is touched.
template <class T>
void store_first(T* p, std::type_identity_t<Simd<T>> v, std::size_t n) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<T, float>)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
  else
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), v);
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<T, float>)
    _mm256_maskstore_ps(p, detail::first_lanes<T>(n), v);
  else
    _mm256_maskstore_pd(p, detail::first_lanes<T>(n), v);
#else
  std::memcpy(p, &v, n * sizeof(T));
#endif
}

/// a·b + c, rounded once where the instruction set can (x86 with AVX2 or AVX-512, Arm), else twice.
template <class V>
V fma(V a, V b, V c) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<V, Simd<float>>)
    return _mm512_fmadd_ps(a, b, c);
  else
    return _mm512_fmadd_pd(a, b, c);
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<V, Simd<float>>)
    return _mm256_fmadd_ps(a, b, c);
  else
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  for (std::size_t i = 0; i < sizeof(V) / sizeof(a[0]); ++i) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
#else
  return a * b + c;
#endif
}

/// The greater of each pair of lanes; b where one is NaN.
template <class V>
V max(V a, V b) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<V, Simd<float>>)
    return _mm512_maskz_max_ps(0xffff, a, b);
  else
    return _mm512_maskz_max_pd(0xff, a, b);
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<V, Simd<float>>)
    return _mm256_max_ps(a, b);
  else
    return _mm256_max_pd(a, b);
#else
  return a > b ? a : b;
#endif
}

/// The lesser of each pair of lanes; b where one is NaN.
template <class V>
V min(V a, V b) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<V, Simd<float>>)
    return _mm512_maskz_min_ps(0xffff, a, b);
  else
    return _mm512_maskz_min_pd(0xff, a, b);
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<V, Simd<float>>)
    return _mm256_min_ps(a, b);
  else
    return _mm256_min_pd(a, b);
#else
  return a < b ? a : b;
#endif
}

/// The correctly rounded square root of each lane.
template <class V>
V sqrt(V v) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<V, Simd<float>>)
    return _mm512_maskz_sqrt_ps(0xffff, v);  // g++ 12 warns about an uninitialised operand in the unmasked ones
  else
    return _mm512_maskz_sqrt_pd(0xff, v);
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<V, Simd<float>>)
    return _mm256_sqrt_ps(v);
  else
    return _mm256_sqrt_pd(v);
#else
  for (std::size_t i = 0; i < sizeof(V) / sizeof(v[0]); ++i) v[i] = std::sqrt(v[i]);
  return v;
#endif
}

/// 0, 1, 2, … in the lanes.
template <class T>
SimdBits<T> lane_numbers() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return SimdBits<T>{I...};
  }(std::make_index_sequence<lanes<T>>{});
}

/// The bit patterns of the lanes, and back.
template <class T>
SimdBits<T> to_bits(std::type_identity_t<Simd<T>> v) {
  return (SimdBits<T>)v;
}
template <class T>
Simd<T> from_bits(std::type_identity_t<SimdBits<T>> bits) {
  return (Simd<T>)bits;
}

/// The lanes in the order Index…; counted through a, then through b.
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
  const auto part = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return __builtin_shufflevector(v, v, int(Index * chunk<T> + I)...);
  }(std::make_index_sequence<chunk<T>>{});
  std::memcpy(p, &part, sizeof part);
}

namespace detail {
/// One step of a transposition: the lanes 0, 2, … of a, then of b, into `a`; the lanes 1, 3, … into `b`, if Unzip. Else
/// the lower halves of a and b alternately into `a`, the upper into `b`. Lanes are units of `Unit` numbers, and
/// nothing leaves its span of `Span` numbers.
template <bool Unzip, int Unit, int Span, class V>
void exchange(V& a, V& b) {
  [&]<int... I>(std::integer_sequence<int, I...>) {
    constexpr auto source = [](int i, int second) {
      constexpr int n = sizeof...(I), half = Span / Unit / 2;
      const int unit = i % Span / Unit;
      const int other = Unzip ? unit / half : unit % 2;
      const int from = Unzip ? unit % half * 2 + second : unit / 2 + second * half;
      return other * n + i / Span * Span + from * Unit + i % Unit;
    };
    const V x = a, y = b;
    a = shuffle<source(I, 0)...>(x, y);
    b = shuffle<source(I, 1)...>(x, y);
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
/// Combines all lanes pairwise, first the most distant: the same tree for every value.
template <class V, class Combine>
auto reduce(V v, Combine combine) {
  constexpr int count = sizeof(V) / sizeof(v[0]);
  const auto step = [&]<int Distance, int... I>(std::integral_constant<int, Distance>,
                                                std::integer_sequence<int, I...>) {
    v = combine(v, shuffle<(I ^ Distance)...>(v, v));
  };
  constexpr std::make_integer_sequence<int, count> all;
  if constexpr (count > 8) step(std::integral_constant<int, 8>{}, all);
  if constexpr (count > 4) step(std::integral_constant<int, 4>{}, all);
  if constexpr (count > 2) step(std::integral_constant<int, 2>{}, all);
  step(std::integral_constant<int, 1>{}, all);
  return v[0];
}
}  // namespace detail

/// The sum of the lanes, always added in the same order.
template <class V>
auto horizontal_sum(V v) {
  return detail::reduce(v, [](V a, V b) { return a + b; });
}

namespace detail {
/// Adds the lanes of a, then of b, that are Distance apart within Span: half of a's sums and half of b's alternate in
/// the spans of the result. One instruction of x86 for each operand, and the sum.
template <int Distance, int Span, class V>
V fold(V a, V b) {
  return [&]<int... I>(std::integer_sequence<int, I...>) {
    constexpr auto source = [](int i, int second) {
      constexpr int n = sizeof...(I);
      const int place = i % (Span / 2);
      return i % Span / (Span / 2) * n + i / Span * Span + place / Distance * 2 * Distance + place % Distance +
             second * Distance;
    };
    return shuffle<source(I, 0)...>(a, b) + shuffle<source(I, 1)...>(a, b);
  }(std::make_integer_sequence<int, sizeof(V) / sizeof(a[0])>{});
}

/// Folds Count registers pairwise, down to one.
template <int Distance, int Count, class V>
[[gnu::always_inline]] inline V fold_all(const V (&v)[Count]) {
  constexpr int lanes = sizeof(V) / sizeof(v[0][0]), bytes = 16 / sizeof(v[0][0]);
  if constexpr (Count == 1) {
    return v[0];
  } else {
    V half[Count / 2];
#pragma GCC unroll 16
    for (int i = 0; i < Count / 2; ++i)
      half[i] = fold<Distance, (Distance < bytes ? bytes : lanes)>(v[2 * i], v[2 * i + 1]);
    return fold_all<Distance / 2>(half);
  }
}
}  // namespace detail

/// Lane i is horizontal_sum(v[i]), bit for bit, at a fraction of its cost: all sums share their shuffles.
template <class T>
[[gnu::always_inline]] inline Simd<T> horizontal_sums(const Simd<T> (&v)[lanes<T>]) {
  constexpr int count = lanes<T>, span = chunk<T>, spans = count / span;
  Simd<T> ordered[count];
#pragma GCC unroll 16
  for (int i = 0; i < count; ++i) ordered[i] = v[i % spans * span + i / spans];
  return detail::fold_all<count / 2>(ordered);
}

/// In each chunk the sums of that chunk of v[0], v[1] …
template <class T>
[[gnu::always_inline]] inline Simd<T> chunk_sums(const Simd<T> (&v)[chunk<T>]) {
  return detail::fold_all<int(chunk<T> / 2)>(v);
}

/// The greatest lane.
template <class V>
auto horizontal_max(V v) {
  return detail::reduce(v, [](V a, V b) { return max(a, b); });
}

}  // namespace fathom::inline FATHOM_ABI::cpu
