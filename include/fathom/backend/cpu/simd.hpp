// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fathom/backend/cpu/config.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

/// One vector register, as wide as the instruction set allows, on the vector extensions of GCC and clang.
///
/// `Simd<T>` has the operators of T (`+ - * /`, unary minus, a scalar operand is broadcast). Comparisons give a
/// `SimdBits<T>` whose elements are all ones or all zeros, and `mask ? a : b` selects element by element. `&`, `|`,
/// `<<` work on `SimdBits<T>`. A element is read with `v[i]`. This header adds what the extensions lack.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

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
inline constexpr std::size_t simd_width = simd_bytes / sizeof(T);

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

/// `simd_width<T>` numbers, T = float or double.
template <class T>
using Simd = typename detail::SimdTypes<T>::Vector;

/// As many signed integers of the same width: the result of a comparison, and the bit patterns of a `Simd<T>`.
template <class T>
using SimdBits = typename detail::SimdTypes<T>::Bits;

/// All elements x.
template <class T>
Simd<T> broadcast(T x) {
  return x - Simd<T>{};  // and not `x + Simd<T>{}`, which would turn -0 into +0
}

/// p[0 … elements), no alignment needed.
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

/// p[0 … elements) = v, no alignment needed.
template <class T>
void store(T* p, std::type_identity_t<Simd<T>> v) {
  std::memcpy(p, &v, sizeof v);
}

#if FATHOM_SIMD_BITS == 256
namespace detail {
/// All ones in elements [0, n).
template <class T>
__m256i first_elements(std::size_t n) {
  using Mask = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  return []<std::size_t... Each>(Mask count, std::index_sequence<Each...>) {
    return (__m256i)(SimdBits<T>{static_cast<Mask>(Each)...} < count);
  }(static_cast<Mask>(n), std::make_index_sequence<simd_width<T>>{});
}
}  // namespace detail
#endif

/// p[0 … n) in the first n elements, zero in the others; n <= elements. Nothing beyond p[n) is touched.
template <class T>
Simd<T> load_first(const T* p, std::size_t n) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<T, float>)
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
  else
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<T, float>)
    return _mm256_maskload_ps(p, detail::first_elements<T>(n));
  else
    return _mm256_maskload_pd(p, detail::first_elements<T>(n));
#else
  Simd<T> v{};
  std::memcpy(&v, p, n * sizeof(T));
  return v;
#endif
}

/// p[0 … n) = the first n elements of v; n <= elements. Nothing beyond p[n) is touched.
template <class T>
void store_first(T* p, std::type_identity_t<Simd<T>> v, std::size_t n) {
#if FATHOM_SIMD_BITS == 512
  if constexpr (std::is_same_v<T, float>)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
  else
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), v);
#elif FATHOM_SIMD_BITS == 256
  if constexpr (std::is_same_v<T, float>)
    _mm256_maskstore_ps(p, detail::first_elements<T>(n), v);
  else
    _mm256_maskstore_pd(p, detail::first_elements<T>(n), v);
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

/// The greater of each pair of elements; b where one is NaN.
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

/// The lesser of each pair of elements; b where one is NaN.
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

/// The correctly rounded square root of each element.
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

/// 0, 1, 2, … in the elements.
template <class T>
SimdBits<T> lane_numbers() {
  return []<std::size_t... Each>(std::index_sequence<Each...>) {
    return SimdBits<T>{Each...};
  }(std::make_index_sequence<simd_width<T>>{});
}

/// The bit patterns of the elements, and back.
template <class T>
SimdBits<T> to_bits(std::type_identity_t<Simd<T>> v) {
  return (SimdBits<T>)v;
}
template <class T>
Simd<T> from_bits(std::type_identity_t<SimdBits<T>> bits) {
  return (Simd<T>)bits;
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
