// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/view.hpp>
#include <string>

namespace fathom::inline FATHOM_ABI {

/// Every tensor starts on a cache line, which is also the widest vector register.
inline constexpr std::int64_t alignment = 64;

constexpr std::int64_t align_up(std::int64_t bytes, std::int64_t to = alignment) { return (bytes + to - 1) / to * to; }

constexpr std::int64_t operator""_KiB(unsigned long long count) { return std::int64_t(count) << 10; }
constexpr std::int64_t operator""_MiB(unsigned long long count) { return std::int64_t(count) << 20; }
constexpr std::int64_t operator""_GiB(unsigned long long count) { return std::int64_t(count) << 30; }

/// A cursor over a block of memory that hands out aligned pieces in order. Without a block it only counts: it hands out
/// null pointers and its `peak` is the size that a block must have. Owns nothing; works in constant evaluation.
///
/// Errors: `take` past the end of a block throws `Error`.
class Arena {
 public:
  constexpr Arena() = default;
  constexpr Arena(std::byte* base, std::int64_t capacity) : base_(base), capacity_(capacity) {}

  template <class T>
  constexpr T* take(std::int64_t count) {
    const std::int64_t begin = used_;
    used_ += align_up(count * std::int64_t(sizeof(T)));
    peak_ = std::max(peak_, used_);
    if (base_ == nullptr) return nullptr;
    if (used_ > capacity_)
      throw Error("Arena: " + std::to_string(used_) + " bytes are needed where " + std::to_string(capacity_) +
                  " were planned; the batch is larger than the capacity that the plan was made for");
    return reinterpret_cast<T*>(base_ + begin);
  }

  /// Uninitialized rows of a static width.
  template <class T, int Width>
  constexpr Rows<T, Width> rows(int count) {
    return {take<T>(std::int64_t(count) * Width), count};
  }

  /// The block, and its bytes.
  constexpr std::byte* data() const { return base_; }
  constexpr std::int64_t capacity() const { return capacity_; }

  constexpr std::int64_t used() const { return used_; }
  constexpr std::int64_t peak() const { return peak_; }
  /// Gives back everything that was taken since `used()` was `mark`.
  constexpr void release(std::int64_t mark) { used_ = mark; }

 private:
  std::byte* base_ = nullptr;
  std::int64_t capacity_ = 0, used_ = 0, peak_ = 0;
};

}  // namespace fathom::inline FATHOM_ABI
