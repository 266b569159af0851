// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Version, and the inline namespace that carries every choice which changes the code.
///
/// Every header opens `namespace fathom::inline FATHOM_ABI { … }`. Two translation units that were compiled with
/// another version, instruction set or matmul therefore name other symbols: they fail to link instead of misbehaving.

#define FATHOM_VERSION "0.1.0"

// The guard against NaN, the exact rounding in the kernels and results that are equal bit for bit need arithmetic as
// IEEE 754 defines it. What no macro tells is checked by core/arithmetic.hpp.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error \
    "fathom: -ffast-math (-Ofast too, or a part of it) removes the guard against NaN; add -fno-fast-math behind it for all files that include fathom"
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define FATHOM_ISA avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define FATHOM_ISA avx2
#else
#define FATHOM_ISA portable
#endif

// The default matmul of `Cpu`: our own kernel, unless FATHOM_USE_BLAS (set by CMake for -DFATHOM_BLAS=ON) asks for a
// BLAS.
#if defined(FATHOM_USE_BLAS)
#define FATHOM_MATMUL blas
#else
#define FATHOM_MATMUL native
#endif

// Whether `Cpu` tells of a slow build (backend/cpu/slow_build.hpp).
#if defined(FATHOM_QUIET)
#define FATHOM_REMARKS _quiet
#else
#define FATHOM_REMARKS
#endif

#define FATHOM_JOIN_(a, b, c, d) a##_##b##_##c##d
#define FATHOM_JOIN(a, b, c, d) FATHOM_JOIN_(a, b, c, d)
#define FATHOM_ABI FATHOM_JOIN(v0_1, FATHOM_ISA, FATHOM_MATMUL, FATHOM_REMARKS)

namespace fathom::inline FATHOM_ABI {
inline constexpr const char* version = FATHOM_VERSION;
}
