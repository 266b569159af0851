# SPDX-License-Identifier: Apache-2.0
# fathom::cuda, the backend of NVIDIA GPUs: a library of one file that nvcc compiles, src/cuda/cuda.cu. The sources of a
# target that links to it are compiled as ever. It needs the CUDA Toolkit >= 13 with cuBLASLt and Thrust, and cuDNN 9. CMAKE_CUDA_ARCHITECTURES
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
find_path(FATHOM_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV CUDNN_PATH PATH_SUFFIXES include)
find_library(FATHOM_CUDNN cudnn HINTS ${CUDAToolkit_LIBRARY_DIR} ENV CUDNN_PATH PATH_SUFFIXES lib64 lib)
mark_as_advanced(FATHOM_CUDNN_INCLUDE FATHOM_CUDNN)
if(NOT FATHOM_CUDNN_INCLUDE OR NOT FATHOM_CUDNN)
  message(FATAL_ERROR "fathom: fathom::cuda is asked for, and cuDNN is not there: install cuDNN 9, or set CUDNN_PATH")
endif()

add_library(fathom_cuda STATIC EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/../src/cuda/cuda.cu)
add_library(fathom::cuda ALIAS fathom_cuda)
target_link_libraries(fathom_cuda PUBLIC fathom::fathom CUDA::cudart CUDA::cublasLt ${FATHOM_CUDNN})
target_include_directories(fathom_cuda SYSTEM PUBLIC ${FATHOM_CUDNN_INCLUDE})
target_compile_definitions(fathom_cuda INTERFACE FATHOM_HAS_CUDA)  # for sources that have a use for it only there
target_compile_definitions(fathom_cuda PRIVATE FATHOM_QUIET)  # it computes nothing on the CPU
# (CMake 3.25 does not know that nvcc has C++20, hence the plain flag.)
target_compile_options(fathom_cuda PRIVATE -std=c++20 --expt-relaxed-constexpr)
