// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fathom/backend/cpu/matmul/native.hpp"
#include "fathom/core/config.hpp"
#if defined(FATHOM_USE_BLAS)
#include "fathom/backend/cpu/matmul/blas.hpp"
#endif

namespace fathom::inline FATHOM_ABI::cpu {

/// The matmul engine of the CPU backend. `BlasMatmul` (matmul/blas.hpp) and `EigenMatmul` (matmul/eigen.hpp) have the
/// same interface and are included by those who want them.
#if defined(FATHOM_USE_BLAS)
using DefaultMatmul = BlasMatmul;
#else
using DefaultMatmul = Native;
#endif

}  // namespace fathom::inline FATHOM_ABI::cpu
