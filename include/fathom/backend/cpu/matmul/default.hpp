// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cpu/config.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

struct Native;       // matmul/native.hpp
struct EigenMatmul;  // matmul/eigen.hpp
struct BlasMatmul;   // matmul/blas.hpp

/// The matmul engine of the CPU backend, by name. All have the same interface. matmul.hpp defines this one; the others
/// are included by those who want them.
#if defined(FATHOM_USE_BLAS)
using DefaultMatmul = BlasMatmul;
#elif defined(FATHOM_USE_EIGEN)
using DefaultMatmul = EigenMatmul;
#else
using DefaultMatmul = Native;
#endif

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
