// SPDX-License-Identifier: Apache-2.0
// Kernels on a device: for nvcc alone.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <thrust/copy.h>
#include <thrust/execution_policy.h>
#include <thrust/sequence.h>
#include <thrust/sort.h>

#include <bit>
#include <cstdint>
#include <fathom/backend/cuda/error.hpp>
#include <fathom/backend/cuda/launch.hpp>
#include <fathom/backend/cuda/sort.hpp>
#include <fathom/core/half.hpp>
#include <string>

namespace fathom::inline FATHOM_ABI::cuda {

/// A thread of a device, as kernels see it.
template <Kernel K>
struct DeviceThread {
  __device__ int index() const { return int(threadIdx.x); }
  __device__ int block() const { return int(blockIdx.x); }
  __device__ int blocks() const { return int(gridDim.x); }
  __device__ int lane() const { return index() % warp_size; }
  __device__ int warp() const { return index() / warp_size; }

  template <class T>
  __device__ T load(const T* from) const {
    return *from;
  }
  template <class T>
  __device__ void store(T* to, const T& value) const {
    *to = value;
  }

  __device__ auto& shared() const
    requires(cooperates<K>)
  {
    extern __shared__ __align__(16) unsigned char memory[];
    return *reinterpret_cast<typename K::Shared*>(memory);
  }
  __device__ void barrier() const
    requires(cooperates<K>)
  {
    __syncthreads();
  }
  __device__ void warp_barrier() const
    requires(cooperates<K>)
  {
    __syncwarp();
  }
  template <class T>
  __device__ T shuffle(T value, int lane) const
    requires(cooperates<K>)
  {
    return __shfl_sync(0xFFFF'FFFFu, value, lane);
  }
  template <class T>
  __device__ T shuffle_xor(T value, int mask) const
    requires(cooperates<K>)
  {
    return __shfl_xor_sync(0xFFFF'FFFFu, value, mask);
  }
  __device__ void multiply_add(float (&c)[4], const Bf16 (&a)[8], const Bf16 (&b)[4]) const
    requires(cooperates<K>)
  {
    std::uint32_t x[4], y[2];
    for (int i = 0; i < 4; ++i) x[i] = std::uint32_t(a[2 * i].bits) | std::uint32_t(a[2 * i + 1].bits) << 16;
    for (int i = 0; i < 2; ++i) y[i] = std::uint32_t(b[2 * i].bits) | std::uint32_t(b[2 * i + 1].bits) << 16;
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
  }
};

template <Kernel K>
__global__ void __launch_bounds__(K::threads) run_kernel(const K kernel) {
  DeviceThread<K> thread;
  kernel(thread);
}

template <Kernel K>
void launch(CUstream_st* stream, int blocks, const K& kernel) {
  static_assert(CheckKernel<K>::value);
  const auto check = [](cudaError_t error) {
    if (error != cudaSuccess) throw CudaError(std::string("kernel ") + K::name + ": " + cudaGetErrorString(error));
  };
  if constexpr (shared_bytes<K>() > (std::size_t{48} << 10)) {
    static const cudaError_t allowed =
        cudaFuncSetAttribute(run_kernel<K>, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes<K>()));
    check(allowed);
  }
  run_kernel<K><<<unsigned(blocks), unsigned(K::threads), shared_bytes<K>(), stream>>>(kernel);
  check(cudaGetLastError());
}

inline void sort_tokens(CUstream_st* stream, SortMemory& memory, std::span<const int> tokens, int* sorted, int* order) {
  const auto policy = thrust::cuda::par(memory).on(stream);
  thrust::copy(policy, tokens.data(), tokens.data() + tokens.size(), sorted);
  thrust::sequence(policy, order, order + tokens.size());
  thrust::stable_sort_by_key(policy, sorted, sorted + tokens.size(), order);
}

}  // namespace fathom::inline FATHOM_ABI::cuda
