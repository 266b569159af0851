// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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
  return (Simd<float>)(__builtin_convertvector(bits, WordRegister) << 16);
}

inline HalfRegister rounded(Simd<float> v) {
  const WordRegister bits = (WordRegister)v, nearest = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  const WordRegister quiet = bits >> 16 | 0x40u, is_nan = (WordRegister)(v != v);
  return __builtin_convertvector((quiet & is_nan) | (nearest & ~is_nan), HalfRegister);
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
  detail::HalfRegister bits{};
#if FATHOM_SIMD_BITS == 512
  bits = (detail::HalfRegister)_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p);
#else
  std::memcpy(&bits, p, n * sizeof(Bf16));
#endif
  return detail::widened(bits);
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
