// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <fathom/backend/backend.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/pair_batch.hpp>
#include <span>
#include <vector>

/// Padding: batches of few shapes, for a backend that makes something for each shape and keeps it (`pads_batches`).
///
/// Behind the sequences of a batch come others, of token 0 and without a target, until its rows are a multiple of an
/// eighth of the capacity; and behind these empty ones, until there are as many sequences as in every batch. So there
/// are at most eight shapes, of pairs eight by eight, and that of whole batches. The rows of the batch stay where they
/// are, and with them its masks of dropout; its loss and its gradients stay the same, but for the rounding of sums that
/// are cut elsewhere.
namespace fathom::inline FATHOM_ABI {

namespace detail {

/// What padding does to one side of a batch.
struct SidePadding {
  int multiple = 1;   ///< that rows are padded to
  int sequences = 0;  ///< so many may get rows, and have room for all that may be missing and for one row more each

  constexpr explicit SidePadding(const Capacity& capacity) {
    if (capacity.longest < 2) return;
    multiple = (capacity.rows + 7) / 8;
    sequences = (multiple - 1 + capacity.longest - 2) / (capacity.longest - 1);
  }
};

constexpr Capacity padded(Capacity capacity, int sequences) {
  capacity.rows += sequences;
  capacity.sequences += sequences;
  return capacity;
}

/// One side of a batch, padded. Memory is reserved once, for the capacity.
class PaddedSide {
 public:
  /// `sequences`: what padding may add.
  PaddedSide(const Capacity& capacity, int sequences)
      : capacity_(capacity), sequences_(sequences), rows_(padded(capacity, sequences)) {
    lengths_.reserve(std::size_t(rows_.capacity().sequences));
    tokens_.reserve(std::size_t(rows_.capacity().rows));
    targets_.reserve(std::size_t(rows_.capacity().rows));
  }

  bool is_whole(const Packing& packing) const { return packing.rows() == capacity_.rows; }

  /// Each of the sequences that are added has `least` rows, and a share of what is missing.
  void assign(const Packing& packing, std::span<const int> tokens, std::span<const int> targets, int least = 0) {
    lengths_.clear();
    for (int s = 0; s < packing.sequences(); ++s) lengths_.push_back(packing.length(s));
    const int multiple = SidePadding(capacity_).multiple, own = packing.rows();
    const int rows = std::min((own + multiple - 1) / multiple * multiple, capacity_.rows) - own;
    for (int s = 0; s < sequences_; ++s) {
      const int length = least + rows / sequences_ + (s < rows % sequences_ ? 1 : 0);
      if (length > 0) lengths_.push_back(length);
    }
    rows_.assign(lengths_);
    rows_.add_empty(rows_.capacity().sequences);
    tokens_.assign(tokens.begin(), tokens.end());
    tokens_.resize(std::size_t(rows_.rows()), 0);
    targets_.assign(targets.begin(), targets.end());
    targets_.resize(std::size_t(rows_.rows()), -1);
  }

  TokenRows read() const { return {rows_.view(), tokens_}; }
  TokenBatch predicted() const { return {rows_.view(), tokens_, targets_}; }

 private:
  Capacity capacity_;
  int sequences_;
  PackedRows rows_;
  std::vector<int> lengths_, tokens_, targets_;
};

/// A batch, padded.
template <class Batch>
class Padded;

template <>
class Padded<TokenBatch> {
 public:
  explicit Padded(const Capacity& capacity) : side_(capacity, SidePadding(capacity).sequences) {}
  TokenBatch operator()(const TokenBatch& batch) {
    side_.assign(batch.packing, batch.tokens, batch.targets);
    return side_.predicted();
  }

 private:
  PaddedSide side_;
};

constexpr int padding_sequences(const PairCapacity& capacity) {
  return std::max(SidePadding(capacity.source).sequences, SidePadding(capacity.target).sequences);
}

/// Each sequence that is added gets rows on both sides, because those of a target read those of its source; unless both
/// sides have all rows of the capacity, and none is added.
template <>
class Padded<PairBatch> {
 public:
  explicit Padded(const PairCapacity& capacity)
      : source_(capacity.source, padding_sequences(capacity)), target_(capacity.target, padding_sequences(capacity)) {}
  PairBatch operator()(const PairBatch& batch) {
    const Packing &sources = batch.source.packing, &targets = batch.target.packing;
    const bool whole = source_.is_whole(sources) && target_.is_whole(targets);
    source_.assign(sources, batch.source.tokens, {}, whole ? 0 : 1);
    target_.assign(targets, batch.target.tokens, batch.target.targets, whole ? 0 : 1);
    return {source_.read(), target_.predicted()};
  }

 private:
  PaddedSide source_, target_;
};

}  // namespace detail

/// What padded batches of this capacity need.
constexpr Capacity padded(const Capacity& capacity) {
  return detail::padded(capacity, detail::SidePadding(capacity).sequences);
}
constexpr PairCapacity padded(const PairCapacity& capacity) {
  const int sequences = detail::padding_sequences(capacity);
  return {detail::padded(capacity.source, sequences), detail::padded(capacity.target, sequences)};
}

/// Batches as backend B is given them: padded, where it wants that.
template <class B, BatchView Batch>
class BatchPadding {
 public:
  explicit BatchPadding(const typename Batch::Capacity& capacity) : capacity_(capacity) {}

  /// Views, valid until the next call; of `batches` themselves where nothing is padded. Allocates for each number of
  /// batches that it meets for the first time.
  std::span<const Batch> operator()(std::span<const Batch> batches) {
    if constexpr (pads_batches<B>) {
      while (padded_.size() < batches.size()) padded_.emplace_back(capacity_);
      views_.clear();
      for (std::size_t i = 0; i < batches.size(); ++i) views_.push_back(padded_[i](batches[i]));
      return views_;
    } else {
      return batches;
    }
  }
  Batch operator()(const Batch& batch) { return (*this)(std::span(&batch, 1)).front(); }

  /// What passes over them are planned for.
  static constexpr auto planned(const typename Batch::Capacity& capacity) {
    const auto kept = saving(capacity, saves_all<B>);
    if constexpr (pads_batches<B>)
      return padded(kept);
    else
      return kept;
  }

 private:
  typename Batch::Capacity capacity_;
  std::deque<detail::Padded<Batch>> padded_;
  std::vector<Batch> views_;
};

}  // namespace fathom::inline FATHOM_ABI
