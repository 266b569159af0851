// SPDX-License-Identifier: Apache-2.0
// Bf16 and F16 are CUDA's types, bit by bit: compared on the host, and on the device where there is one.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <fathom/core/half.hpp>

using namespace fathom;

namespace {

static_assert(sizeof(Bf16) == sizeof(__nv_bfloat16) && alignof(Bf16) == alignof(__nv_bfloat16));
static_assert(sizeof(F16) == sizeof(__half) && alignof(F16) == alignof(__half));

__host__ __device__ float theirs(Bf16 value) { return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{value.bits})); }
__host__ __device__ float theirs(F16 value) { return __half2float(__half(__half_raw{value.bits})); }
__host__ __device__ std::uint16_t theirs(Bf16, float value) { return __nv_bfloat16_raw(__float2bfloat16_rn(value)).x; }
__host__ __device__ std::uint16_t theirs(F16, float value) { return __half_raw(__float2half_rn(value)).x; }

__host__ __device__ bool equal(float a, float b) { return a == b || (a != a && b != b); }

/// Whether the pattern is the same float for both, and floats at and beside the middle to the next are rounded alike.
template <class T>
__host__ __device__ bool agrees(std::uint16_t pattern) {
  const T value = T::from_bits(pattern);
  const float low = value, high = T::from_bits(std::uint16_t(pattern + 1));
  if (!equal(low, theirs(value))) return false;
  if (low != low || high != high) return T(low) != T(low) == (low != low);
  const float middle = low / 2 + high / 2;  // exact but below the least normal float, where any float will do
  for (int step = -1; step <= 1; ++step)
    for (const float from : {low, middle, high}) {
      const float near = std::bit_cast<float>(std::bit_cast<std::uint32_t>(from) + std::uint32_t(step));
      if (near == near && T(near).bits != theirs(T(), near)) return false;
    }
  return true;
}

__global__ void compare(int* different) {
  const std::uint16_t pattern = std::uint16_t(blockIdx.x * blockDim.x + threadIdx.x);
  if (!agrees<Bf16>(pattern) || !agrees<F16>(pattern)) atomicAdd(different, 1);
}

}  // namespace

int main() {
  for (std::uint32_t pattern = 0; pattern < 0x10000; ++pattern)
    if (!agrees<Bf16>(std::uint16_t(pattern)) || !agrees<F16>(std::uint16_t(pattern))) {
      std::printf("cuda.half: pattern %04x differs on the host\n", pattern);
      return 1;
    }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("cuda.half: the host agrees; no device");
    return 0;
  }
  int *device = nullptr, different = 0;
  if (cudaMalloc(&device, sizeof different) != cudaSuccess ||
      cudaMemcpy(device, &different, sizeof different, cudaMemcpyHostToDevice) != cudaSuccess)
    return 1;
  compare<<<256, 256>>>(device);
  if (cudaMemcpy(&different, device, sizeof different, cudaMemcpyDeviceToHost) != cudaSuccess) return 1;
  cudaFree(device);
  std::printf("cuda.half: %d patterns differ on the device\n", different);
  return different == 0 ? 0 : 1;
}
