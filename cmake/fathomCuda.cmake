# SPDX-License-Identifier: Apache-2.0
# fathom::cuda, the backend of NVIDIA GPUs. A target that links to it gets one file that nvcc compiles, src/cuda/cuda.cu;
# its own sources are compiled as ever. It needs the CUDA Toolkit >= 13 with cuBLASLt and Thrust. CMAKE_CUDA_ARCHITECTURES
# says for which GPUs; 90 (H100, H200) unless it is set.
include_guard(GLOBAL)
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90)
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "fathom: fathom::cuda is asked for, and there is no nvcc: install the CUDA Toolkit >= 13, or set CUDACXX")
endif()
enable_language(CUDA)
find_package(CUDAToolkit 13 REQUIRED)

add_library(fathom_cuda INTERFACE)
add_library(fathom::cuda ALIAS fathom_cuda)
target_sources(fathom_cuda INTERFACE ${CMAKE_CURRENT_LIST_DIR}/../src/cuda/cuda.cu)
target_link_libraries(fathom_cuda INTERFACE fathom::fathom CUDA::cudart CUDA::cublasLt)
# (CMake 3.25 does not know that nvcc has C++20, hence the plain flag.)
target_compile_options(fathom_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 --expt-relaxed-constexpr>)
