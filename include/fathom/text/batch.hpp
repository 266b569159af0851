// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/packing.hpp>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// A target that no loss is computed for.
inline constexpr int no_target = -1;

/// Owns a `TokenBatch`: packed sequences of tokens, each with the token to predict there. Memory is reserved once, for
/// the capacity; filling it again allocates nothing.
class PackedTokens {
 public:
  using Capacity = fathom::Capacity;

  /// Errors: `ShapeError` of `check_capacity`.
  explicit PackedTokens(const Capacity& capacity) : rows_(capacity) {
    tokens_.reserve(static_cast<std::size_t>(capacity.rows));
    targets_.reserve(static_cast<std::size_t>(capacity.rows));
    lengths_.reserve(static_cast<std::size_t>(capacity.sequences));
  }
  PackedTokens(PackedTokens&&) = default;
  PackedTokens& operator=(PackedTokens&&) = default;

  const Capacity& capacity() const { return rows_.capacity(); }
  Packing packing() const { return rows_.view(); }
  operator TokenBatch() const { return {rows_.view(), tokens_, targets_}; }
  int rows() const { return rows_.rows(); }
  int sequences() const { return rows_.sequences(); }

  std::span<const int> tokens() const { return tokens_; }    ///< one a row
  std::span<const int> targets() const { return targets_; }  ///< one a row; `no_target`: none
  std::span<int> tokens() { return tokens_; }
  std::span<int> targets() { return targets_; }

  /// Starts over. Between `clear` and `pack` only `fits`, `append` and `pack` may be called.
  void clear() {
    tokens_.clear();
    targets_.clear();
    lengths_.clear();
  }
  bool fits(std::size_t length) const {
    return lengths_.size() < static_cast<std::size_t>(capacity().sequences) &&
           length <= static_cast<std::size_t>(capacity().longest) &&
           tokens_.size() + length <= static_cast<std::size_t>(capacity().rows);
  }
  /// Appends a sequence that fits, each of its tokens with the next one as target, the last one with `next`.
  template <class Token>
  void append(std::span<const Token> sequence, int next) {
    if (sequence.empty() || !fits(sequence.size()))
      throw ShapeError("PackedTokens: a sequence of " + std::to_string(sequence.size()) + " tokens after " +
                       std::to_string(tokens_.size()) + " does not fit a capacity of " +
                       std::to_string(capacity().rows) + " rows");
    tokens_.insert(tokens_.end(), sequence.begin(), sequence.end());
    targets_.insert(targets_.end(), sequence.begin() + 1, sequence.end());
    targets_.push_back(next);
    lengths_.push_back(static_cast<int>(sequence.size()));
  }
  void pack() { rows_.assign(lengths_); }

 private:
  PackedRows rows_;
  std::vector<int> tokens_, targets_, lengths_;
};

/// What a sampler fills: `S::Packed`, which owns the batch of a model and has its `Capacity`; `PackedTokens` where `S`
/// does not say.
template <class S>
struct PackedOf {
  using type = PackedTokens;
};
template <class S>
requires requires { typename S::Packed; }
struct PackedOf<S> {
  using type = typename S::Packed;
};
template <class S>
using PackedBy = typename PackedOf<S>::type;

/// An endless series of batches, of which any one can be made alone: a sampler has no state but what it was made from,
/// and a run that saves one number, the cursor, resumes exactly. What a cursor counts (batches, pieces, pairs) is the
/// sampler's affair.
///
///   capacity()             of every batch
///   epoch()                cursors 0, …, epoch() - 1 are one pass over the text
///   fill(cursor, batch)    overwrites batch, which has this capacity; returns the cursor of the next one.
///                          Allocates nothing; may be called by several threads
template <class S>
concept Sampler = std::copy_constructible<S> && requires(const S& sampler, std::uint64_t cursor, PackedBy<S>& batch) {
  { sampler.capacity() } -> std::same_as<typename PackedBy<S>::Capacity>;
  { sampler.epoch() } -> std::same_as<std::uint64_t>;
  { sampler.fill(cursor, batch) } -> std::same_as<std::uint64_t>;
};

}  // namespace fathom::inline FATHOM_ABI::text
