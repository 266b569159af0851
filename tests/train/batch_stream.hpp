// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "train/models.hpp"

namespace fathom_test {

/// An endless source of batches for the small model: number n is `SomeBatch(n)`.
class SomeBatches {
 public:
  static constexpr Capacity capacity{4 * context, 4, context};

  explicit SomeBatches(std::uint64_t cursor = 0) : cursor_(cursor) {}

  TokenBatch next() {
    batch_ = SomeBatch(cursor_++);
    return batch_;
  }
  std::uint64_t cursor() const { return cursor_; }

 private:
  std::uint64_t cursor_;
  SomeBatch batch_{0};
};

}  // namespace fathom_test
