// SPDX-License-Identifier: Apache-2.0
// The kernels of the emulated device's tests, on a device: the same bodies give the same results.
#include <cstdio>
#include <fathom/backend/cuda/launch.cuh>
#include <vector>

#include "kernels.hpp"

using namespace fathom_test;

namespace {

template <class T>
T* on_device(const std::vector<T>& values) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, values.size() * sizeof(T)) != cudaSuccess ||
      cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice) != cudaSuccess)
    throw CudaError("cuda.launch: the inputs could not be copied to the device");
  return static_cast<T*>(memory);
}

template <class T>
std::vector<T> values_at(const T* memory, std::size_t count) {
  std::vector<T> values(count);
  if (cudaMemcpy(values.data(), memory, count * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess)
    throw CudaError(cudaGetErrorString(cudaGetLastError()));
  return values;
}

std::vector<float> counted(int count) {
  std::vector<float> values;
  for (int i = 1; i <= count; ++i) values.push_back(float(i));
  return values;
}

int wrong = 0;

void check(bool right, const char* what) {
  if (right) return;
  std::printf("cuda.launch: %s\n", what);
  ++wrong;
}

void run() {
  float *const x = on_device(counted(96 * 96)), *const y = on_device(counted(96 * 96));
  fathom::cuda::launch(nullptr, 2, BlockSum{x, y});
  check(values_at(y, 2) == std::vector<float>{8256, 24640}, "the sum of a block is wrong");
  fathom::cuda::launch(nullptr, 9, Transpose{x, y, 96});
  check(values_at(y, 2) == std::vector<float>{1, 97}, "the transpose is wrong");
  fathom::cuda::launch(nullptr, 2, WarpSum{x, y});
  check(values_at(y, 33)[32] == 1552, "the sum of a warp is wrong");
  fathom::cuda::launch(nullptr, 3, Axpy{2, x, y, 1});
  check(values_at(y, 1)[0] == 530, "axpy is wrong");
  std::vector<int> numbers;
  for (int i = 0; i < 32; ++i) numbers.push_back(i);
  int *const from = on_device(numbers), *const to = on_device(numbers);
  fathom::cuda::launch(nullptr, 1, Rotate{from, to});
  check(values_at(to, 4) == std::vector{29, 30, 31, 0}, "the rotation is wrong");

  std::vector<Bf16> a, b;
  for (int i = 0; i < 16 * 16; ++i) a.emplace_back(float(i % 7 - 3));
  for (int i = 0; i < 16 * 8; ++i) b.emplace_back(float(i % 5 - 1) / 2);
  float* const c = on_device(std::vector<float>(128, 1.f));
  fathom::cuda::launch(nullptr, 1, MultiplyTile{on_device(a), on_device(b), c});
  const auto values = values_at(c, 128);
  for (int i = 0; i < 128; ++i) {
    float sum = 1;
    for (int k = 0; k < 16; ++k) sum += float(a[std::size_t(i / 8 * 16 + k)]) * float(b[std::size_t(k * 8 + i % 8)]);
    check(values[std::size_t(i)] == sum, "the matrix step is wrong");
  }
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("cuda.launch: compiled; skipped: no device");
    return 77;
  }
  run();
  if (wrong == 0) std::puts("cuda.launch: kernels give what they give on the emulated device");
  return wrong == 0 ? 0 : 1;
}
