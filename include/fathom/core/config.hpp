// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Version, and the inline namespace that carries it.
///
/// Every header opens `namespace fathom::inline FATHOM_ABI { … }`. Two translation units that were compiled with
/// another version therefore name other symbols: they fail to link instead of misbehaving. What else changes a
/// backend's code is in that backend's namespace (backend/cpu/config.hpp).

#define FATHOM_VERSION "0.1.0"

// The guard against NaN, the exact rounding in the kernels and results that are equal bit for bit need arithmetic as
// IEEE 754 defines it. What no macro tells is checked by core/arithmetic.hpp.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error \
    "fathom: -ffast-math (-Ofast too, or a part of it) removes the guard against NaN; add -fno-fast-math behind it for all files that include fathom"
#endif

#define FATHOM_ABI v0_1

/// What is no template may be defined in a header of its own, `…_inl.hpp`: what includes fathom has it inline, what
/// links to fathom::compiled (which defines FATHOM_COMPILED) finds it there.
#if defined(FATHOM_COMPILED)
#define FATHOM_INLINE
#else
#define FATHOM_INLINE inline
#endif

namespace fathom::inline FATHOM_ABI {
inline constexpr const char* version = FATHOM_VERSION;
}
