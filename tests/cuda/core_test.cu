// SPDX-License-Identifier: Apache-2.0
// A kernel uses core/ as host code does. That it compiles is half of the test; the other half needs a GPU.
#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <cstdio>

#include "every_core_header.hpp"

using namespace fathom;

namespace {

constexpr int rows = 5, width = 8;

constexpr Key key{0x299f31d0a4093822};
constexpr Philox::Block counter{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
constexpr Philox::Block known_answer{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};  // Random123 1.14, kat_vectors

constexpr Dropout dropout{0.5, Key{3}.child("dropout")};

struct Results {
  float products[rows * width];
  Philox::Block random;
  std::uint64_t permuted;
  float kept[Dropout::block];
};

/// What every thread and the host compute of row `row`: `a` is a slice of wider rows.
constexpr void compute(Rows<const float, width, 2 * width> a, Matrix<const float> b, Vector<const float, width> bias,
                       int row, Results& results) {
  const Matrix<const float> left = a;
  const Matrix<float> out = Rows<float, width>(results.products, rows);
  const Elements<const float> offsets = bias;
  for (int i = 0; i < width; ++i) out.row(row)[i] = left.row(row)[i] * b.block(1, rows).row(row)[i] + offsets[i];
  if (row != 0) return;
  results.random = Philox(key)(counter);
  results.permuted = Permutation(key, 1000)(7);
  const auto factors = dropout.factors<float>(1, 2, 3, 4);
  for (int i = 0; i < Dropout::block; ++i) results.kept[i] = factors[i];
}

__global__ void kernel(const float* a, const float* b, const float* bias, Results* results) {
  static_assert(Philox(key)(counter) == known_answer);
  const Rows<const float, 2 * width> wide{a, rows};
  compute(wide.columns<width, width>(), {b, rows + 1, width}, {bias}, int(threadIdx.x), *results);
}

struct Inputs {
  float a[rows * 2 * width] = {}, b[(rows + 1) * width] = {}, bias[width] = {};

  constexpr Inputs() {
    for (int i = 0; i < rows * 2 * width; ++i) a[i] = float(i % 7);
    for (int i = 0; i < (rows + 1) * width; ++i) b[i] = float(i % 5);
    for (int i = 0; i < width; ++i) bias[i] = float(i);
  }
};

/// The same on the host.
constexpr Results expected() {
  const Inputs inputs;
  Results results{};
  const Rows<const float, 2 * width> wide{inputs.a, rows};
  for (int row = 0; row < rows; ++row)
    compute(wide.columns<width, width>(), {inputs.b, rows + 1, width}, {inputs.bias}, row, results);
  return results;
}

static_assert(expected().random == known_answer);

int fail(const char* what) {
  std::printf("cuda.core: %s\n", what);
  return 1;
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("cuda.core: compiled; skipped: no device");
    return 77;
  }
  struct Shared {
    Inputs inputs;
    Results results;
  };
  Shared* device = nullptr;
  Shared host{};
  if (cudaMalloc(&device, sizeof(Shared)) != cudaSuccess ||
      cudaMemcpy(device, &host, sizeof(Shared), cudaMemcpyHostToDevice) != cudaSuccess)
    return fail("the inputs could not be copied to the device");
  kernel<<<1, rows>>>(device->inputs.a, device->inputs.b, device->inputs.bias, &device->results);
  if (cudaMemcpy(&host, device, sizeof(Shared), cudaMemcpyDeviceToHost) != cudaSuccess)
    return fail(cudaGetErrorString(cudaGetLastError()));
  cudaFree(device);

  const Results wanted = expected();
  if (host.results.random != known_answer) return fail("Philox differs on the device");
  if (host.results.permuted != wanted.permuted) return fail("Permutation differs on the device");
  for (int i = 0; i < Dropout::block; ++i)
    if (host.results.kept[i] != wanted.kept[i]) return fail("Dropout differs on the device");
  for (int i = 0; i < rows * width; ++i)
    if (host.results.products[i] != wanted.products[i]) return fail("a view differs on the device");
  std::puts("cuda.core: the device computes what the host does");
}
