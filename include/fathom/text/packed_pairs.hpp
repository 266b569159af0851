// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/pair_batch.hpp>
#include <fathom/text/batch.hpp>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// Owns a `PairBatch`: what samplers of pairs fill. Memory is reserved once, for the capacity; filling it again
/// allocates nothing.
class PackedPairs {
 public:
  using Capacity = PairCapacity;

  /// Errors: `ShapeError` of `check_capacity`.
  explicit PackedPairs(const Capacity& capacity)
      : capacity_(checked(capacity)), source_rows_(capacity.source), target_(capacity.target) {
    source_tokens_.reserve(static_cast<std::size_t>(capacity.source.rows));
    source_lengths_.reserve(static_cast<std::size_t>(capacity.source.sequences));
  }
  PackedPairs(PackedPairs&&) = default;
  PackedPairs& operator=(PackedPairs&&) = default;

  const Capacity& capacity() const { return capacity_; }
  operator PairBatch() const { return {{source_rows_.view(), source_tokens_}, target_}; }
  int pairs() const { return source_rows_.sequences(); }
  std::span<const int> source_tokens() const { return source_tokens_; }
  const PackedTokens& target() const { return target_; }

  /// Starts over. Between `clear` and `pack` only `fits`, `append` and `pack` may be called.
  void clear() {
    source_tokens_.clear();
    source_lengths_.clear();
    target_.clear();
  }
  /// Whether there is room for a pair of so many tokens.
  bool fits(std::size_t source, std::size_t target) const {
    return source <= static_cast<std::size_t>(capacity_.source.longest) &&
           source_tokens_.size() + source <= static_cast<std::size_t>(capacity_.source.rows) && target_.fits(target);
  }
  /// Appends a pair that fits: the source as it is; the target each of its tokens with the next one to predict, the
  /// last one with `next`.
  template <class Token>
  void append(std::span<const Token> source, std::span<const Token> target, int next) {
    if (source.empty() || !fits(source.size(), target.size()))
      throw ShapeError("PackedPairs: a source of " + std::to_string(source.size()) + " tokens, with a target of " +
                       std::to_string(target.size()) + ", after " + std::to_string(source_tokens_.size()) +
                       " does not fit a capacity of " + text_of(capacity_));
    target_.append(target, next);
    source_tokens_.insert(source_tokens_.end(), source.begin(), source.end());
    source_lengths_.push_back(static_cast<int>(source.size()));
  }
  void pack() {
    source_rows_.assign(source_lengths_);
    target_.pack();
  }

 private:
  static const Capacity& checked(const Capacity& capacity) {
    check_capacity(capacity, "PackedPairs");
    return capacity;
  }

  Capacity capacity_;
  PackedRows source_rows_;
  std::vector<int> source_tokens_, source_lengths_;
  PackedTokens target_;
};

}  // namespace fathom::inline FATHOM_ABI::text
