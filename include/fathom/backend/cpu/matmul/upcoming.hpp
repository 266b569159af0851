// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "fathom/backend/cpu/config.hpp"

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail {

/// How many T a cache line holds.
template <class T>
inline constexpr std::size_t cache_line = 64 / sizeof(T);

/// A matrix that will be needed soon: `rows` rows of `width` numbers, `stride` apart, whose cache lines are fetched one
/// at a time while something else is computed. A core waits for few lines at once (Golden Cove: 16 on their way to L1),
/// and whatever it loads beyond them queues: many fetches in a row hold up the multiplications beside them.
template <class T>
class Upcoming {
 public:
  Upcoming() = default;
  Upcoming(const T* data, std::size_t stride, std::size_t rows, std::size_t width)
      : line_(data), row_end_(data + width), stride_(stride), width_(width), rows_(rows) {}

  /// How many rows are left.
  std::size_t rows() const { return rows_; }

  /// Rows [first, last) alone.
  Upcoming rows(std::size_t first, std::size_t last) const {
    return {line_ + first * stride_, stride_, last - first, width_};
  }

  /// Fetches the next line: to L1, for this core alone, or to L2.
  void fetch_line_to_write() {
    __builtin_prefetch(line_, 1);
    advance();
  }
  void fetch_line_to_read() {
    __builtin_prefetch(line_, 0, 2);
    advance();
  }

 private:
  void advance() {
    line_ += cache_line<T>;
    if (line_ >= row_end_) {
      row_end_ += stride_;
      line_ = row_end_ - width_;
      --rows_;
    }
  }

  const T* line_ = nullptr;
  const T* row_end_ = nullptr;
  std::size_t stride_ = 0, width_ = 0, rows_ = 0;
};

/// What later calls of the micro-kernel need and may be in no cache.
template <class T>
struct Ahead {
  Upcoming<T> c;            ///< the next call's: will be written
  Upcoming<T> operands[2];  ///< will be read
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI::detail
