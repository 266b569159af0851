// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "train/models.hpp"

namespace fathom_test {

/// An endless source of batches for the small model: number n is `SomeBatch(n)`.
class SomeBatches {
 public:
  static constexpr Capacity capacity{4 * context, 4, context};

  explicit SomeBatches(std::uint64_t position = 0) : position_(position) {}

  TokenBatch next() {
    batch_ = SomeBatch(position_++);
    return batch_;
  }
  std::uint64_t position() const { return position_; }

 private:
  std::uint64_t position_;
  SomeBatch batch_{0};
};

}  // namespace fathom_test
