// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/inputs.hpp>
#include <map>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace fathom_test {
using namespace fathom;

/// Memory that ordinary code cannot reach: what it has are addresses of a range without rights, and an access ends the
/// program. The memory itself lies at a constant distance, which `Far` alone adds.
class FarMemory {
 public:
  template <class T>
  static T* near(T* far) {
    if (far == nullptr) return nullptr;
    return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(far) + distance);
  }
  /// A copy of an aggregate of views and numbers, in which every far address is a near one. An address of the range is
  /// told from two neighbouring ints by its upper half, from 22,951 on, from a double, which would be denormal, and from
  /// what is left of an address between a truth value and the next member: no byte of the upper half is 0 or 1.
  template <class Op>
  static Op moved(const Op& op) {
    static_assert(std::is_trivially_copyable_v<Op>);
    Op result = op;
    auto* const bytes = reinterpret_cast<unsigned char*>(&result);
    for (std::size_t at = 0; at + sizeof(std::uintptr_t) <= sizeof(Op); at += sizeof(std::uintptr_t)) {
      std::uintptr_t word;
      std::memcpy(&word, bytes + at, sizeof word);
      if (word < far_base || word > far_base + size) continue;
      word += distance;
      std::memcpy(bytes + at, &word, sizeof word);
    }
    return result;
  }

  /// Zeroed bytes.
  static std::byte* take(std::int64_t bytes) {
    Heap& heap = FarMemory::heap();
    const std::lock_guard lock(heap.mutex);
    const std::int64_t rounded = block_size(bytes);
    if (const auto free = heap.free.find(rounded); free != heap.free.end()) {
      std::byte* const block = free->second;
      heap.free.erase(free);
      std::memset(near(block), 0, std::size_t(rounded));
      return block;
    }
    if (heap.used + rounded > std::int64_t(size)) throw std::bad_alloc();
    std::byte* const block = reinterpret_cast<std::byte*>(far_base) + heap.used;
    heap.used += rounded + page;
    return block;
  }
  static void give_back(std::byte* block, std::int64_t bytes) {
    Heap& heap = FarMemory::heap();
    const std::lock_guard lock(heap.mutex);
    ::madvise(near(block), std::size_t(block_size(bytes)), MADV_DONTNEED);
    heap.free.emplace(block_size(bytes), block);
  }

 private:
  static constexpr std::uintptr_t far_base = 0x59a7'0000'0000, near_base = 0x5827'0000'0000, size = 0x4'0000'0000;
  static constexpr std::uintptr_t distance = near_base - far_base;
  static constexpr std::int64_t page = 4096;

  static constexpr std::int64_t block_size(std::int64_t bytes) { return align_up(bytes, page); }

  struct Heap {
    Heap() {
      const auto map = [](std::uintptr_t base, int rights) {
        void* const at = reinterpret_cast<void*>(base);
        if (::mmap(at, size, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != at)
          throw std::runtime_error("FarMemory: its range of addresses is not free");
      };
      map(far_base, PROT_NONE);
      map(near_base, PROT_READ | PROT_WRITE);
    }
    std::mutex mutex;
    std::int64_t used = 0;
    std::multimap<std::int64_t, std::byte*> free;
  };
  static Heap& heap() {
    static Heap* const heap = new Heap;  // outlives all buffers
    return *heap;
  }
};

template <class T>
class FarBuffer {
 public:
  FarBuffer() = default;
  explicit FarBuffer(std::int64_t count) : size_(count) {
    if (count > 0) data_ = reinterpret_cast<T*>(FarMemory::take(bytes()));
  }
  FarBuffer(FarBuffer&& other) noexcept { swap(other); }
  FarBuffer& operator=(FarBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~FarBuffer() {
    if (data_ != nullptr) FarMemory::give_back(reinterpret_cast<std::byte*>(data_), bytes());
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  void upload(std::int64_t first, std::span<const T> values) {
    if (!values.empty()) std::memcpy(FarMemory::near(data_ + first), values.data(), values.size_bytes());
  }
  void download(std::int64_t first, std::span<T> values) const {
    if (!values.empty()) std::memcpy(values.data(), FarMemory::near(data_ + first), values.size_bytes());
  }
  void zero() {
    if (data_ != nullptr) std::memset(FarMemory::near(data_), 0, std::size_t(bytes()));
  }

 private:
  std::int64_t bytes() const { return size_ * std::int64_t(sizeof(T)); }
  void swap(FarBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

/// The base of a backend in which an op needs what it needs in `B`.
template <class B>
struct NeedsMemoryOf {
  static constexpr bool saves_all = fathom::saves_all<B>;
  static constexpr std::int64_t scratch_bytes(const auto& op) { return B::scratch_bytes(op); }
  static constexpr std::int64_t shared_bytes(const auto& op) { return B::shared_bytes(op); }
  static constexpr std::int64_t held_bytes(const auto& op, const Capacity& capacity) {
    return B::held_bytes(op, capacity);
  }
};

/// Backend `B`, whose buffers are `FarMemory`: what dereferences a weight, a gradient, an activation or a slot outside
/// of the backend ends the program. Packings, tokens and tables come to it as copies, which are far too.
template <class B>
struct Far : NeedsMemoryOf<B> {
  using Precision = typename B::Precision;
  using Options = typename B::Options;
  template <class T>
  using Buffer = FarBuffer<T>;

  static constexpr Options one_lane(const Options& options = {}) { return B::one_lane(options); }

  class Lane {
   public:
    void attach(typename B::Lane& inner) {
      inner_ = &inner;
      inputs_.clear();
      packings_.clear();
    }

    void use(Arena& workspace) {
      workspace_ = &workspace;
      near_workspace_ = Arena(FarMemory::near(workspace.data()), workspace.capacity());
      inner_->use(near_workspace_);
    }
    void on(const Packing& packing) { inner_->on(near(packing)); }
    void settle() { inner_->settle(); }
    void enter(std::string_view name, int index) { inner_->enter(name, index); }
    void leave() { inner_->leave(); }
    bool first() const { return inner_->first(); }
    void wait() { inner_->wait(); }
    void read(void* into, const void* from, std::size_t bytes) { inner_->read(into, FarMemory::near(from), bytes); }
    int number() const requires requires(typename B::Lane& inner) { inner.number(); }
    { return inner_->number(); }
    void listen(Listener* listener) requires requires(typename B::Lane& inner) { inner.listen(listener); }
    { inner_->listen(listener); }

    template <class Op>
    void run(Op op) {
      if constexpr (requires { op.tokens; }) op.tokens = inputs_(op.tokens);
      if constexpr (requires { op.targets; }) op.targets = inputs_(op.targets);
      if constexpr (requires { op.copies; }) op.copies = inputs_(op.copies);
      if constexpr (requires { op.bias.starts; }) op.bias.starts = inputs_(op.bias.starts);
      if constexpr (requires { op.table.front().offset; }) op.table = inputs_(op.table);
      if constexpr (requires { op.key_packing; })
        op.packing = &near(*op.packing), op.key_packing = &near(*op.key_packing);
      near_workspace_.release(workspace_->used());
      B::run(*inner_, FarMemory::moved(op));
      workspace_->release(near_workspace_.used());
    }

   private:
    /// The same for equal packings, as backends compare them by their addresses.
    const Packing& near(const Packing& host) {
      const Packing& far = inputs_(host);
      return packings_.try_emplace(&far, FarMemory::moved(far)).first->second;
    }

    typename B::Lane* inner_ = nullptr;
    Arena* workspace_ = nullptr;
    Arena near_workspace_;
    Inputs<FarBuffer> inputs_;
    std::map<const Packing*, Packing> packings_;
  };

  class Machine {
   public:
    explicit Machine(const Options& options) : inner_(options), lanes_(std::size_t(inner_.lanes())) {}

    int lanes() const { return inner_.lanes(); }
    std::int64_t allocated_bytes() const { return inner_.allocated_bytes(); }
    void reserve(std::int64_t scratch) { inner_.reserve(scratch); }

    template <class F>
    void run(F&& f) {
      inner_.run([&](typename B::Lane& inner) {
        Lane& lane = lanes_[number_of(inner)];
        lane.attach(inner);
        f(lane);
      });
    }

   private:
    static std::size_t number_of(const typename B::Lane& lane) {
      if constexpr (requires { lane.number(); })
        return std::size_t(lane.number());
      else
        return 0;
    }

    typename B::Machine inner_;
    std::deque<Lane> lanes_;
  };

  template <class Op>
    requires Runs<B, Op>
  static void run(Lane& lane, const Op& op) {
    lane.run(op);
  }
};

}  // namespace fathom_test
