// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <fathom/backend/cuda/error.hpp>
#include <fathom/backend/cuda/launch.hpp>
#include <fathom/core/half.hpp>
#include <source_location>
#include <string>

#include "block.hpp"
#include "device.hpp"
#include "runtime_call.hpp"

/// Kernels on the emulated device: what launch.cuh is for nvcc.
namespace emulated {

/// Bytes that kernels have read and written, counted at their loads and stores.
struct Traffic {
  std::int64_t loaded = 0, stored = 0;
};
inline Traffic& traffic() {
  static Traffic traffic;
  return traffic;
}

/// A thread of the emulated device, as kernels see it; see fathom/backend/cuda/kernel.hpp.
template <fathom::cuda::Kernel K>
class Thread {
 public:
  Thread(int index, int block, int blocks) : index_(index), block_(block), blocks_(blocks) {}

  int index() const { return index_; }
  int block() const { return block_; }
  int blocks() const { return blocks_; }
  int lane() const { return index_ % fathom::cuda::warp_size; }
  int warp() const { return index_ / fathom::cuda::warp_size; }

  template <class T>
  T load(const T* from) const {
    check<T>(from, "loads");
    traffic().loaded += std::int64_t(sizeof(T));
    return *from;
  }
  template <class T>
  void store(T* to, const T& value) const {
    check<T>(to, "stores");
    traffic().stored += std::int64_t(sizeof(T));
    *to = value;
  }

  auto& shared() const
    requires(fathom::cuda::cooperates<K>)
  {
    return *reinterpret_cast<typename K::Shared*>(Block::current().shared());
  }
  void barrier(std::source_location where = std::source_location::current()) const
    requires(fathom::cuda::cooperates<K>)
  {
    Block::current().barrier(index_, where);
  }
  void warp_barrier(std::source_location where = std::source_location::current()) const
    requires(fathom::cuda::cooperates<K>)
  {
    Block::current().warp_barrier(index_, where);
  }
  template <class T>
  T shuffle(T value, int lane, std::source_location where = std::source_location::current()) const
    requires(fathom::cuda::cooperates<K>)
  {
    if (lane < 0 || lane >= fathom::cuda::warp_size) wrong("shuffle from lane " + std::to_string(lane));
    Block::current().bring(index_, value, where);
    return Block::current().brought<T>(index_, lane);
  }
  template <class T>
  T shuffle_xor(T value, int mask, std::source_location where = std::source_location::current()) const
    requires(fathom::cuda::cooperates<K>)
  {
    return shuffle(value, lane() ^ mask, where);
  }
  /// Computed in double and rounded once; a device rounds within, how is not documented.
  void multiply_add(float (&c)[4], const fathom::Bf16 (&a)[8], const fathom::Bf16 (&b)[4],
                    std::source_location where = std::source_location::current()) const
    requires(fathom::cuda::cooperates<K>)
  {
    using Step = fathom::cuda::MatrixStep;
    struct Fragments {
      fathom::Bf16 a[8], b[4];
    } mine;
    std::ranges::copy(a, mine.a);
    std::ranges::copy(b, mine.b);
    Block::current().bring(index_, mine, where);
    float left[Step::rows][Step::inner], right[Step::inner][Step::columns];
    for (int lane = 0; lane < fathom::cuda::warp_size; ++lane) {
      const auto its = Block::current().brought<Fragments>(index_, lane);
      for (int i = 0; i < 8; ++i) left[Step::a_row(lane, i)][Step::a_column(lane, i)] = its.a[i];
      for (int i = 0; i < 4; ++i) right[Step::b_row(lane, i)][Step::b_column(lane, i)] = its.b[i];
    }
    for (int i = 0; i < 4; ++i) {
      double sum = c[i];
      for (int k = 0; k < Step::inner; ++k)
        sum += double(left[Step::c_row(lane(), i)][k]) * double(right[k][Step::c_column(lane(), i)]);
      c[i] = float(sum);
    }
  }

 private:
  template <class T>
  void check(const T* address, const char* what) const {
    if (reinterpret_cast<std::uintptr_t>(address) % alignof(T) != 0)
      wrong(std::string(what) + " " + std::to_string(sizeof(T)) +
            " bytes at an address that is not aligned for them: " + Device::get().memory().describe(address));
    if (!Device::get().memory().owns(address)) wrong(std::string(what) + " what is no memory of the device");
  }

  int index_, block_, blocks_;
};

/// Runs a kernel now: blocks and threads in the device's order.
template <fathom::cuda::Kernel K>
void run_kernel(const K& kernel, int blocks) {
  const Order order = Device::get().settings().order;
  static std::uint64_t random = 1;
  for (const int block : ordered(blocks, order, random)) {
    const auto body = [&](int index) {
      Thread<K> thread(index, block, blocks);
      kernel(thread);
    };
    if constexpr (fathom::cuda::cooperates<K>) {
      Block::run(K::name, block, K::threads, fathom::cuda::shared_bytes<K>(), order, body);
    } else {
      for (const int index : ordered(K::threads, order, random)) {
        running() = {K::name, block, index};
        body(index);
      }
    }
  }
}

}  // namespace emulated

namespace fathom::inline FATHOM_ABI::cuda {

template <Kernel K>
void launch(CUstream_st* stream, int blocks, const K& kernel) {
  static_assert(CheckKernel<K>::value);
  const cudaError_t error = emulated::runtime_call(
      (std::string("launch of ") + K::name).c_str(), emulated::Kind::usual, [&](emulated::Device& device) {
        if (blocks < 1) {
          device.mistake(std::string("kernel ") + K::name + " is launched in " + std::to_string(blocks) + " blocks");
          return cudaErrorInvalidConfiguration;
        }
        return emulated::submit(stream, std::string("kernel ") + K::name,
                                [kernel, blocks] { emulated::run_kernel(kernel, blocks); });
      });
  if (error != cudaSuccess) throw CudaError(std::string("kernel ") + K::name + ": " + cudaGetErrorString(error));
}

}  // namespace fathom::inline FATHOM_ABI::cuda
