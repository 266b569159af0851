// SPDX-License-Identifier: Apache-2.0
#pragma once

// Ahead of a source of tests/backend/ops, for the program that runs its cases on Cuda.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/core/buffer.hpp>
#include <span>
#include <vector>

#define FATHOM_TEST_CUDA

namespace fathom_test {
using namespace fathom;

/// What a case's machine number `index` does otherwise: the emulated device runs threads and blocks in another order.
void choose_machine(std::size_t index);

/// Operands of an op that stand in memory of the host, as copies on the device, in one block.
class OnDevice {
 public:
  /// What lies here may be read and written by the op.
  void add(void* host, std::int64_t bytes) {
    places_.push_back({{static_cast<std::byte*>(host), std::size_t(bytes)}, size_});
    size_ = align_up(size_ + bytes);
  }
  /// The op with addresses of the device in the place of those that were added.
  template <class Op>
  Op moved(Op op) {
    static_assert(std::is_trivially_copyable_v<Op>);
    if (device_.size() == 0) send();
    auto* const bytes = reinterpret_cast<std::byte*>(&op);
    for (std::size_t at = 0; at + sizeof(std::byte*) <= sizeof(Op); at += sizeof(std::byte*)) {
      std::byte* address = nullptr;
      std::memcpy(&address, bytes + at, sizeof address);
      if (const Place* place = place_of(address)) {
        address = device_.data() + place->offset + (address - place->host.data());
        std::memcpy(bytes + at, &address, sizeof address);
      }
    }
    return op;
  }
  /// What the op has left comes back.
  void take_back() {
    if (device_.size() == 0) return;
    const std::vector<std::byte> all = values_of(device_);
    for (const Place& place : places_) std::memcpy(place.host.data(), all.data() + place.offset, place.host.size());
  }

 private:
  struct Place {
    std::span<std::byte> host;
    std::int64_t offset;
  };

  /// What an address lies in, or right behind; null: in nothing that was added.
  const Place* place_of(const std::byte* address) const {
    const Place* ends_there = nullptr;
    for (const Place& place : places_) {
      const std::byte* const end = place.host.data() + place.host.size();
      if (address >= place.host.data() && address < end) return &place;
      if (address == end) ends_there = &place;
    }
    return ends_there;
  }
  void send() {
    std::vector<std::byte> all(static_cast<std::size_t>(size_));
    for (const Place& place : places_) std::memcpy(all.data() + place.offset, place.host.data(), place.host.size());
    device_ = cuda::DeviceBuffer<std::byte>(size_);
    device_.upload(0, all);
  }

  std::vector<Place> places_;
  std::int64_t size_ = 0;
  cuda::DeviceBuffer<std::byte> device_;
};

}  // namespace fathom_test
