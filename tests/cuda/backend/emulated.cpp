// SPDX-License-Identifier: Apache-2.0
// The backend on the emulated device: what src/cuda/cuda.cu is for a GPU.
#include <thrust/copy.h>
#include <thrust/execution_policy.h>
#include <thrust/sequence.h>
#include <thrust/sort.h>
#include <cstddef>

#include "launch.hpp"
//
#include <fathom/backend/cuda/cuda_inl.hpp>

namespace fathom::inline FATHOM_ABI::cuda {

/// By Thrust's system for the host, when the stream comes to it.
void sort_tokens(CUstream_st* stream, SortMemory&, std::span<const int> tokens, int* sorted, int* order) {
  const auto sort = [tokens, sorted, order] {
    thrust::copy(thrust::cpp::par, tokens.data(), tokens.data() + tokens.size(), sorted);
    thrust::sequence(thrust::cpp::par, order, order + tokens.size());
    thrust::stable_sort_by_key(thrust::cpp::par, sorted, sorted + tokens.size(), order);
  };
  const cudaError_t error =
      emulated::runtime_call("thrust::stable_sort_by_key", emulated::Kind::not_captured,
                             [&](emulated::Device&) { return emulated::submit(stream, "sort", sort); });
  check(error, "thrust::stable_sort_by_key");
}

}  // namespace fathom::inline FATHOM_ABI::cuda

namespace fathom_test {

void choose_machine(std::size_t index) {
  using enum emulated::Order;
  emulated::Device::get().set_order(index == 0 ? forward : index == 1 ? reverse : random);
}

}  // namespace fathom_test
