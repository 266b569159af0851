// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <span>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// Copies of a number of batches: what holds several of a source that has one at a time. Allocates until each place has
/// seen its largest batch, then nothing.
template <BatchView Batch = TokenBatch>
class BatchCopies {
 public:
  explicit BatchCopies(int count) : arrays_(std::size_t(count)), views_(std::size_t(count)) {}

  void set(int index, const Batch& batch) {
    auto& arrays = arrays_[std::size_t(index)];
    Batch& view = views_[std::size_t(index)] = batch;
    std::size_t next = 0;
    view.each_array([&](std::span<const int>& array) {
      if (next == arrays.size()) arrays.emplace_back();
      arrays[next].assign(array.begin(), array.end());
      array = arrays[next++];
    });
  }
  std::span<const Batch> batches() const { return views_; }

 private:
  std::vector<std::vector<std::vector<int>>> arrays_;  // of each batch, in the order of its `each_array`
  std::vector<Batch> views_;
};

}  // namespace fathom::inline FATHOM_ABI
