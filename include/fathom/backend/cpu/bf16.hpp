// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/backend/cpu/simd.hpp>
#include <fathom/core/half.hpp>
#include <type_traits>

/// bf16 numbers in memory, floats in registers: `load` and `store` of simd.hpp for them. Loading is exact; storing
/// rounds as `Bf16` does, bit for bit (the instruction of AVX512_BF16 would take subnormal numbers for zero).
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

namespace detail {
using HalfRegister [[gnu::vector_size(simd_bytes / 2)]] = std::uint16_t;
using WordRegister [[gnu::vector_size(simd_bytes)]] = std::uint32_t;

/// Numbers of 16 bits, the upper halves of floats.
inline Simd<float> widened(HalfRegister bits) {
#if FATHOM_SIMD_BITS == 256  // one instruction, where g++ 12 makes four of the conversion below
  return (Simd<float>)((WordRegister)_mm256_cvtepu16_epi32((__m128i)bits) << 16);
#else
  return (Simd<float>)(__builtin_convertvector(bits, WordRegister) << 16);
#endif
}

inline HalfRegister rounded(Simd<float> v) {
  const WordRegister bits = (WordRegister)v, nearest = bits + 0x7FFFu + (bits >> 16 & 1u), quiet = bits | 0x400000u;
  const WordRegister chosen = v != v ? quiet : nearest;
#if FATHOM_SIMD_BITS == 256
  const __m256i upper = (__m256i)((SimdBits<float>)chosen >> 16);  // signed: they are packed as they are
  return (HalfRegister)_mm_packs_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
#else
  return __builtin_convertvector(chosen >> 16, HalfRegister);
#endif
}
}  // namespace detail

/// What numbers that are stored as T are computed with.
template <class T>
using Computed = std::conditional_t<std::is_same_v<T, Bf16>, float, T>;

inline Simd<float> load(const Bf16* p) {
  detail::HalfRegister bits;
  std::memcpy(&bits, p, sizeof bits);
  return detail::widened(bits);
}

inline void store(Bf16* p, Simd<float> v) {
  const detail::HalfRegister bits = detail::rounded(v);
  std::memcpy(static_cast<void*>(p), &bits, sizeof bits);
}

/// p[0 … n) in the first n elements, zero in the others; n <= elements. Nothing beyond p[n) is touched.
inline Simd<float> load_first(const Bf16* p, std::size_t n) {
#if FATHOM_SIMD_BITS == 512
  return detail::widened((detail::HalfRegister)_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p));
#elif FATHOM_SIMD_BITS == 256
  const auto first = _mm_cmplt_epi16(_mm_set_epi16(7, 6, 5, 4, 3, 2, 1, 0), _mm_set1_epi16(static_cast<short>(n)));
  const __m128i pairs = _mm_srai_epi32(first, 31);  // what is loaded is pairs of numbers; of an odd n the last is alone
  __m128i bits = _mm_maskload_epi32(reinterpret_cast<const int*>(p), pairs);
  if (n % 2 == 1)
    bits = _mm_or_si128(bits,
                        _mm_and_si128(_mm_andnot_si128(pairs, first), _mm_set1_epi16(std::bit_cast<short>(p[n - 1]))));
  return detail::widened((detail::HalfRegister)bits);
#else
  detail::HalfRegister bits{};
  std::memcpy(&bits, p, n * sizeof(Bf16));
  return detail::widened(bits);
#endif
}

/// p[0 … n) = the first n elements of v; n <= elements. Nothing beyond p[n) is touched.
inline void store_first(Bf16* p, Simd<float> v, std::size_t n) {
  const detail::HalfRegister bits = detail::rounded(v);
#if FATHOM_SIMD_BITS == 512
  _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << n) - 1), (__m256i)bits);
#else
  std::memcpy(static_cast<void*>(p), &bits, n * sizeof(Bf16));
#endif
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
