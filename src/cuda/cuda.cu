// SPDX-License-Identifier: Apache-2.0
// The backend Cuda, for nvcc: the one file of a program that it compiles (CMake target fathom::cuda).
#include <fathom/backend/cuda/launch.cuh>
//
#include <fathom/backend/cuda/cuda_inl.hpp>
