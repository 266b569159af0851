// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cuda/kernel.hpp>
#include <fathom/core/config.hpp>

struct CUstream_st;  // what cudaStream_t points to

namespace fathom::inline FATHOM_ABI::cuda {

/// Hands a kernel to a stream, in at least one block. Defined where kernels are compiled: by launch.cuh for nvcc, by
/// the emulated device for tests. A program links to one of the two, and either is instantiated for each kernel there.
/// Errors: CudaError, for what the launch or work before it ran into.
template <Kernel K>
void launch(CUstream_st* stream, int blocks, const K& kernel);

}  // namespace fathom::inline FATHOM_ABI::cuda
