// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <fathom/core/config.hpp>
#include <fathom/core/packing.hpp>
#include <span>
#include <type_traits>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// What ops name in memory of the host (packings, tokens, targets, tables of tensors), as copies in memory of a machine
/// that cannot read there. A lane has one. Within a region a thing is told by its place and extent and copied once;
/// `clear` begins the next region, because a batch is refilled where it was. Memory of copies is used again, the same
/// for a region that asks for the same room in the same order.
///
///   op.tokens = inputs(op.tokens);              room for these
///   op.tokens = inputs(op.tokens, capacity);    room for as many as there may be
template <template <class> class Buffer>
class Inputs {
 public:
  void clear() {
    for (Copy& copy : copies_) copy.host = {};
    packings_.clear();
  }

  template <class T>
  std::span<const T> operator()(std::span<const T> host, std::int64_t room = 0) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (host.empty()) return {};
    const std::int64_t bytes = std::max(std::ssize(host), room) * std::int64_t(sizeof(T));
    return {reinterpret_cast<const T*>(copy_of(std::as_bytes(host), bytes)), host.size()};
  }

  /// The packing itself stays where it is read by its address, on the host, until `clear`; what it points to does not.
  /// Equal packings are one.
  const Packing& operator()(const Packing& host) {
    for (const auto& [from, copy] : packings_)
      if (from == host) return copy;
    return packings_
        .emplace_back(host, Packing{host.capacity, (*this)(host.offsets), (*this)(host.shards),
                                    (*this)(host.sequence_shard), (*this)(host.past)})
        .second;
  }

 private:
  struct Copy {
    std::span<const std::byte> host;  ///< empty: free
    Buffer<std::byte> bytes;
  };

  const std::byte* copy_of(std::span<const std::byte> host, std::int64_t room) {
    Copy* free = nullptr;
    for (Copy& copy : copies_) {
      if (copy.host.data() == host.data() && copy.host.size() == host.size()) return copy.bytes.data();
      if (free == nullptr && copy.host.empty() && copy.bytes.size() >= room) free = &copy;
    }
    if (free == nullptr) free = &copies_.emplace_back(Copy{{}, Buffer<std::byte>(room)});
    free->host = host;
    free->bytes.upload(0, host);
    return free->bytes.data();
  }

  std::deque<Copy> copies_;
  std::deque<std::pair<Packing, Packing>> packings_;
};

}  // namespace fathom::inline FATHOM_ABI
