// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/backend/cuda/launch.hpp>
#include <fathom/backend/cuda/products.hpp>
#include <fathom/backend/cuda/program.hpp>
#include <fathom/backend/cuda/runtime.hpp>
#include <fathom/backend/cuda/sort.hpp>
#include <fathom/backend/inputs.hpp>
#include <fathom/backend/slots.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <list>
#include <string>
#include <utility>

namespace fathom::inline FATHOM_ABI::cuda {

/// What a machine owns. Ops are written down in a program while a region's code runs. The program is done when a result
/// is read and when the region ends: op by op the first time, as one graph when an equal one was done before.
class Session {
 public:
  explicit Session(const Options& options)
      : options_((check_device(), options)),
        stream_(make_stream()),
        products_(options.workspace),
        read_(sizeof(Slots)) {}

  cudaStream_t stream() const { return stream_.get(); }
  Products& products() { return products_; }
  /// Memory that the running op has for itself.
  Arena scratch() { return arena_of(scratch_); }
  Inputs<DeviceBuffer>& inputs() { return inputs_; }

  template <Kernel K>
  void launch(int blocks, const K& kernel) {
    cuda::launch(stream(), blocks, kernel);
  }

  void reserve(std::int64_t scratch) {
    if (scratch_.size() >= scratch) return;
    known_.clear();  // graphs name the memory that goes
    scratch_ = DeviceBuffer<std::byte>(scratch);
  }
  std::int64_t allocated_bytes() const {
    return scratch_.size() + products_.allocated_bytes() + numbers_.size() * std::int64_t(sizeof(std::uint64_t));
  }
  /// Graphs that are kept.
  int graphs() const {
    return int(std::ranges::count_if(known_, [](const Known& k) { return bool(k.graph); }));
  }

  /// Tokens of the host in ascending order, and their places, on the device; once for each place and region.
  struct Sorted {
    std::span<const int> tokens, order;
  };
  Sorted sorted(std::span<const int> host) {
    const int count = int(host.size());
    SortedTokens* free = nullptr;
    for (SortedTokens& tokens : sorted_) {
      if (tokens.host.data() == host.data() && tokens.host.size() == host.size()) return tokens.view();
      if (free == nullptr && tokens.host.empty() && tokens.order.size() >= count) free = &tokens;
    }
    if (free == nullptr)
      free = &sorted_.emplace_back(SortedTokens{{}, DeviceBuffer<int>(count), DeviceBuffer<int>(count)});
    free->host = host;
    sort_tokens(stream(), sort_memory_, inputs_(host), free->tokens.data(), free->order.data());
    return free->view();
  }

  /// A region begins.
  void begin() {
    inputs_.clear();
    for (SortedTokens& tokens : sorted_) tokens.host = {};
    program_.clear();
  }
  /// And ends: all is done.
  void finish() {
    flush();
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
  }

  /// Whatever is left is not done.
  void abandon() noexcept {
    if (program_.empty()) return;
    program_.clear();
    cudaStreamSynchronize(stream());
  }

  template <class Op>
  void add(const Op& op) {
    program_.add(op);
  }

  void read(void* into, const void* from, std::size_t bytes) {
    flush();
    if (read_.size() < bytes) read_ = PinnedMemory(bytes);
    check(cudaMemcpyAsync(read_.data(), from, bytes, cudaMemcpyDeviceToHost, stream()), "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
    std::memcpy(into, read_.data(), bytes);
  }

 private:
  struct SortedTokens {
    std::span<const int> host;  ///< empty: free
    DeviceBuffer<int> tokens, order;

    Sorted view() const { return {{tokens.data(), host.size()}, {order.data(), host.size()}}; }
  };

  /// A program that was done before.
  struct Known {
    Program program;
    OwnedGraphExec graph;
  };
  static constexpr std::size_t most_known = 16;  ///< the one that was not used for the longest time goes

  void flush() {
    if (program_.empty()) return;
    send_numbers();
    const auto known = std::ranges::find_if(known_, [&](const Known& k) { return k.program == program_; });
    if (!options_.graphs) {
      program_.run(*this, numbers_.data());
    } else if (known == known_.end()) {
      program_.run(*this, numbers_.data());
      if (known_.size() == most_known) known_.pop_back();
      known_.push_front({program_, {}});
    } else {
      known_.splice(known_.begin(), known_, known);
      if (!known->graph) known->graph = captured(known->program);
      check(cudaGraphLaunch(known->graph.get(), stream()), "cudaGraphLaunch");
    }
    program_.clear();
  }

  /// The numbers that change go to their place on the device in one copy.
  void send_numbers() {
    const std::vector<std::uint64_t>& numbers = program_.numbers();
    if (numbers.empty()) return;
    const std::size_t bytes = numbers.size() * sizeof numbers[0];
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");  // the last copy has been read
    if (sent_.size() < bytes) sent_ = PinnedMemory(2 * bytes);
    if (numbers_.size() < std::ssize(numbers)) {
      known_.clear();
      numbers_ = DeviceBuffer<std::uint64_t>(2 * std::ssize(numbers));
    }
    std::memcpy(sent_.data(), numbers.data(), bytes);
    check(cudaMemcpyAsync(numbers_.data(), sent_.data(), bytes, cudaMemcpyHostToDevice, stream()), "cudaMemcpyAsync");
  }

  OwnedGraphExec captured(const Program& program) {
    check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      program.run(*this, numbers_.data());
    } catch (...) {
      if (cudaStreamEndCapture(stream(), &graph) == cudaSuccess) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream(), &graph), "cudaStreamEndCapture");
    const OwnedGraph owned(graph);
    cudaGraphExec_t made = nullptr;
    check(cudaGraphInstantiate(&made, graph, 0), "cudaGraphInstantiate");
    return OwnedGraphExec(made);
  }

  Options options_;
  OwnedStream stream_;
  Products products_;
  DeviceBuffer<std::byte> scratch_;
  Inputs<DeviceBuffer> inputs_;
  SortMemory sort_memory_;
  std::deque<SortedTokens> sorted_;
  Program program_;
  std::list<Known> known_;
  PinnedMemory sent_, read_;
  DeviceBuffer<std::uint64_t> numbers_;
};

}  // namespace fathom::inline FATHOM_ABI::cuda
