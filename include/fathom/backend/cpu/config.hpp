// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>

/// The inline namespace of the CPU backend, which carries every choice that changes its code.
///
/// Its headers open `namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI { … }`, and every type with a
/// `Cpu` in it differs as `Cpu` does. Two translation units that were compiled with another instruction set or matmul,
/// or of which one alone links to `fathom::compiled`, therefore name other symbols: they fail to link instead of
/// misbehaving.

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && defined(__AVX512VL__)
// The instruction that multiplies pairs of bf16 numbers (AVX512_BF16) is the faster way where it runs at the rate of
// fma: on AMD's processors, which alone have SSE4A. On Intel's it is slower than widening to floats.
#if defined(__AVX512BF16__) && defined(__SSE4A__)
#define FATHOM_BF16_PAIRS
#define FATHOM_ISA avx512_pairs
#elif defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#define FATHOM_BF16_TILES  // Intel's matrix unit, where the system grants it to the program
#define FATHOM_ISA avx512_tiles
#else
#define FATHOM_ISA avx512
#endif
#elif defined(__AVX2__) && defined(__FMA__)
#define FATHOM_ISA avx2
#else
#define FATHOM_ISA portable
#endif

// The default matmul of `Cpu`: our own kernel, unless FATHOM_USE_BLAS (set by CMake for -DFATHOM_BLAS=ON) or
// FATHOM_USE_EIGEN asks for another. Off x86 it is Eigen, which has kernels for these processors; not measured there.
#if !defined(FATHOM_USE_BLAS) && !defined(FATHOM_USE_EIGEN) && !defined(__x86_64__) && !defined(__i386__)
#define FATHOM_USE_EIGEN
#endif
#if defined(FATHOM_USE_BLAS)
#define FATHOM_MATMUL blas
#elif defined(FATHOM_USE_EIGEN)
#define FATHOM_MATMUL eigen
#else
#define FATHOM_MATMUL native
#endif

// Whether the usual ops are those of a library: the CMake target fathom::compiled sets FATHOM_COMPILED.
#if defined(FATHOM_COMPILED)
#define FATHOM_FORM _compiled
#else
#define FATHOM_FORM
#endif

#define FATHOM_JOIN_(a, b, c) a##_##b##c
#define FATHOM_JOIN(a, b, c) FATHOM_JOIN_(a, b, c)
#define FATHOM_CPU_ABI FATHOM_JOIN(FATHOM_ISA, FATHOM_MATMUL, FATHOM_FORM)
