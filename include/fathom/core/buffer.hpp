// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fathom::inline FATHOM_ABI {

/// Owns a zeroed, aligned array of `count` trivially copyable elements. Large ones ask the kernel for huge pages.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>, "Buffer: its elements are zeroed and moved as bytes");

 public:
  Buffer() = default;
  explicit Buffer(std::int64_t count) : size_(count) {
    if (count == 0) return;
    const auto bytes = std::size_t(align_up(count * std::int64_t(sizeof(T))));
    const bool large = bytes >= std::size_t(huge_page);
    align_ = std::align_val_t(large ? huge_page : alignment);
    data_ = static_cast<T*>(::operator new(bytes, align_));
#if defined(__linux__)
    if (large) ::madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    std::memset(static_cast<void*>(data_), 0, bytes);
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) ::operator delete(data_, align_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  /// Copies values in, from element `first` on, or out.
  void upload(std::int64_t first, std::span<const T> values) {
    if (!values.empty()) std::memcpy(static_cast<void*>(data_ + first), values.data(), values.size_bytes());
  }
  void download(std::int64_t first, std::span<T> values) const {
    if (!values.empty()) std::memcpy(static_cast<void*>(values.data()), data_ + first, values.size_bytes());
  }
  void zero() {
    if (data_ != nullptr) std::memset(static_cast<void*>(data_), 0, std::size_t(size_) * sizeof(T));
  }
  std::span<T> span() { return {data_, std::size_t(size_)}; }
  std::span<const T> span() const { return {data_, std::size_t(size_)}; }

 private:
  static constexpr std::int64_t huge_page = 2_MiB;

  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(align_, other.align_);
  }

  T* data_ = nullptr;
  std::int64_t size_ = 0;
  std::align_val_t align_{std::size_t(alignment)};
};

/// A cursor over all bytes of a buffer, of any machine. An empty one's refuses to give anything, instead of counting as
/// one without a block.
template <class Memory>
requires requires(Memory& bytes) {
  { bytes.data() } -> std::same_as<std::byte*>;
}
Arena arena_of(Memory& bytes) {
  alignas(alignment) static std::byte nothing;
  return {bytes.data() != nullptr ? bytes.data() : &nothing, bytes.size()};
}

/// A copy of all values in a buffer, of any machine.
template <class Memory>
auto values_of(const Memory& memory) {
  std::vector<std::remove_cvref_t<decltype(*memory.data())>> values(std::size_t(memory.size()));
  memory.download(0, values);
  return values;
}

}  // namespace fathom::inline FATHOM_ABI
