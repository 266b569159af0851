// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <fathom/backend/cuda/attention_plans.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/backend/cuda/launch.hpp>
#include <fathom/backend/cuda/prepared.hpp>
#include <fathom/backend/cuda/products.hpp>
#include <fathom/backend/cuda/program.hpp>
#include <fathom/backend/cuda/runtime.hpp>
#include <fathom/backend/cuda/sort.hpp>
#include <fathom/backend/cuda/sums.hpp>
#include <fathom/backend/inputs.hpp>
#include <fathom/backend/slots.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <list>
#include <string>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::cuda {

class Session;
inline void run_op(Session& session, const Settle&, Numbers);

/// What a machine owns. Ops are written down in a program while a region's code runs. The program is done when a result
/// is read and when the region ends: op by op the first time, as one graph when an equal one was done before.
class Session {
 public:
  explicit Session(const Options& options)
      : options_((check_device(), options)),
        stream_(make_stream()),
        products_(options.workspace, options.timed),
        attention_(stream(), options.plans),
        read_(sizeof(Slots)) {}

  cudaStream_t stream() const { return stream_.get(); }
  Products& products() { return products_; }
  AttentionPlans& attention() { return attention_; }
  /// Whether cuDNN does attention of this shape. May make a plan, so not for use in a capture.
  bool plans(const AttentionShape& shape, bool backward) {
    const std::int64_t before = attention_.allocated_bytes();
    const bool has = options_.cudnn && attention_.has(shape, backward);
    if (attention_.allocated_bytes() != before) known_.clear();  // graphs name the memory that is gone
    return has;
  }
  /// A zero on the device.
  const std::int64_t* zero() const { return zero_.data(); }
  /// Memory that the running op has for itself.
  Arena scratch() { return arena_of(scratch_); }
  Inputs<DeviceBuffer>& inputs() { return inputs_; }
  WaitingSums& sums() { return sums_; }

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
    return scratch_.size() + products_.allocated_bytes() + attention_.allocated_bytes() +
           numbers_.size() * std::int64_t(sizeof(std::uint64_t));
  }
  /// Graphs that are kept.
  int graphs() const {
    return int(std::ranges::count_if(known_, [](const Known& k) { return bool(k.graph); }));
  }

  /// Tokens of the host in ascending order, and their places, on the device; once for each place and region. There is
  /// room for as many as there may be.
  struct Sorted {
    std::span<const int> tokens, order;
  };
  Sorted sorted(std::span<const int> host, int room) {
    const int count = std::max(int(host.size()), room);
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

  /// Where the sequences of a packing of the host begin, in elements of a matrix with this stride; how long they are.
  /// On the device, for as many sequences as the packing may have.
  const std::int64_t* offsets(const Packing& host, std::int64_t stride) {
    return listed(offsets_, host, stride, host.capacity.sequences + 1,
                  [&](int s) { return std::int64_t(host.offsets[std::min(s, host.sequences())]) * stride; });
  }
  const int* lengths(const Packing& host) {
    return listed(lengths_, host, 0, host.capacity.sequences,
                  [&](int s) { return s < host.sequences() ? host.length(s) : 0; });
  }

  /// A region begins.
  void begin() {
    inputs_.clear();
    offsets_.clear(), lengths_.clear();
    for (SortedTokens& tokens : sorted_) tokens.host = {};
    forget();
  }
  /// And ends: all is done.
  void finish() {
    flush();
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
  }

  /// Whatever is left is not done.
  void abandon() noexcept {
    if (program_.empty()) return;
    forget();
    cudaStreamSynchronize(stream());
  }

  /// Sums that the op leaves end with the next call of `settle`.
  template <class Op>
  void add(const Op& op) {
    program_.add(op);
    sums_wait_ = sums_wait_ || leaves_sums<Op>;
  }
  /// A product and relu in its place are one launch.
  template <class P>
  void add(const OnRows<op::Activation<P>>& packed) {
    using Product = op::LinearForward<P>;
    const Product* const before = program_.template last<Product>();
    if (before == nullptr || !joins(*before, packed.op)) return program_.add(packed);
    const WithRelu<P> both{*before};
    program_.drop_last();
    program_.add(both);
  }
  void settle() {
    if (std::exchange(sums_wait_, false)) program_.add(Settle{});
  }

  void read(void* into, const void* from, std::size_t bytes) {
    flush();
    if (read_.size() < bytes) read_ = PinnedMemory(bytes);
    check(cudaMemcpyAsync(read_.data(), from, bytes, cudaMemcpyDeviceToHost, stream()), "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
    std::memcpy(into, read_.data(), bytes);
  }

 private:
  void forget() {
    program_.clear();
    sums_ = {};
    sums_wait_ = false;
  }

  struct SortedTokens {
    std::span<const int> host;  ///< empty: free
    DeviceBuffer<int> tokens, order;

    Sorted view() const { return {{tokens.data(), host.size()}, {order.data(), host.size()}}; }
  };

  /// What is made of a packing on the host; it stays where it is until the region ends.
  template <class T>
  struct HostList {
    const int* packing;
    std::int64_t stride;
    std::vector<T> values;
  };
  template <class T>
  const T* listed(std::deque<HostList<T>>& lists, const Packing& host, std::int64_t stride, int count, auto&& value) {
    for (const HostList<T>& list : lists)
      if (list.packing == host.offsets.data() && list.stride == stride && std::ssize(list.values) == count)
        return inputs_(std::span<const T>(list.values)).data();
    HostList<T>& list = lists.emplace_back(HostList<T>{host.offsets.data(), stride, {}});
    for (int s = 0; s < count; ++s) list.values.push_back(value(s));
    return inputs_(std::span<const T>(list.values)).data();
  }

  /// A program that was done before.
  struct Known {
    Program program;
    OwnedGraphExec graph;
  };
  static constexpr std::size_t most_known = 128;         ///< the one that was not used for the longest time goes
  static constexpr std::int64_t bytes_of_node = 10'000;  ///< of the device's memory, about
  static constexpr std::size_t most_products = 1 << 14;  ///< of one shape some 600 bytes; then all are asked for again

  void flush() {
    settle();
    if (program_.empty()) return;
    send_numbers();
    if (products_.known() > most_products) {
      products_.forget();
      known_.remove_if([](const Known& k) { return !k.graph; });  // these would ask for products in their capture
    }
    const auto known = std::ranges::find_if(known_, [&](const Known& k) { return k.program == program_; });
    if (!options_.graphs) {
      program_.run(*this, numbers_.data());
    } else if (known == known_.end()) {
      program_.run(*this, numbers_.data());
      if (known_.size() == most_known) known_.pop_back();
      known_.push_front({program_, {}});
    } else {
      known_.splice(known_.begin(), known_, known);
      if (!known->graph && has_room_for(known->program)) known->graph = captured(known->program);
      if (known->graph)
        check(cudaGraphLaunch(known->graph.get(), stream()), "cudaGraphLaunch");
      else
        program_.run(*this, numbers_.data());
    }
    program_.clear();
  }
  /// Whether the device has memory for one graph more, see `Options::reserve`.
  bool has_room_for(const Program& program) const {
    std::int64_t ops = std::int64_t(program.size());
    for (const Known& k : known_)
      if (k.graph) ops += std::int64_t(k.program.size());
    return ops * bytes_of_node <= options_.reserve / 2;
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
  AttentionPlans attention_;
  DeviceBuffer<std::int64_t> zero_{1};
  DeviceBuffer<std::byte> scratch_;
  std::deque<HostList<std::int64_t>> offsets_;
  std::deque<HostList<int>> lengths_;
  Inputs<DeviceBuffer> inputs_;
  SortMemory sort_memory_;
  std::deque<SortedTokens> sorted_;
  WaitingSums sums_;
  Program program_;
  bool sums_wait_ = false;  ///< in the program
  std::list<Known> known_;
  PinnedMemory sent_, read_;
  DeviceBuffer<std::uint64_t> numbers_;
};

inline void run_op(Session& session, const Settle&, Numbers) { session.sums().run(session.stream()); }

}  // namespace fathom::inline FATHOM_ABI::cuda
