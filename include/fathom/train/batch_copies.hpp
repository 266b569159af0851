// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <span>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// Copies of a number of batches: what holds several of a source that has one at a time. Allocates until each place has
/// seen its largest batch, then nothing.
class BatchCopies {
 public:
  explicit BatchCopies(int count) : copies_(std::size_t(count)), views_(std::size_t(count)) {}

  void set(int index, const TokenBatch& batch) {
    Copy& copy = copies_[std::size_t(index)];
    const Packing& rows = batch.packing;
    views_[std::size_t(index)] = {.packing = {.capacity = rows.capacity,
                                              .offsets = copied(rows.offsets, copy.offsets),
                                              .shards = copied(rows.shards, copy.shards),
                                              .sequence_shard = copied(rows.sequence_shard, copy.sequence_shard),
                                              .past = copied(rows.past, copy.past)},
                                  .tokens = copied(batch.tokens, copy.tokens),
                                  .targets = copied(batch.targets, copy.targets)};
  }
  std::span<const TokenBatch> batches() const { return views_; }

 private:
  struct Copy {
    std::vector<int> offsets, shards, sequence_shard, past, tokens, targets;
  };

  static std::span<const int> copied(std::span<const int> from, std::vector<int>& to) {
    to.assign(from.begin(), from.end());
    return to;
  }

  std::vector<Copy> copies_;
  std::vector<TokenBatch> views_;
};

}  // namespace fathom::inline FATHOM_ABI
