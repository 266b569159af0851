// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/text/batch.hpp>
#include <iterator>
#include <limits>
#include <utility>

namespace fathom::inline FATHOM_ABI::text {

/// The batches of one pass over a sampler's text, in a range that can be walked again and again:
///
///   for (const text::PackedTokens& batch : text::Epoch(windows)) …      all of them
///   text::Epoch sample(windows, 30)                              at most 30, spread evenly over the pass
///
/// A sample is the same in each walk, and no part of the text is in it twice.
///
/// One batch, allocated at construction, is filled anew at each step: a batch is valid until the next, and one walk at
/// a time is possible. With a sampler whose order is that of the text this is what a loss is evaluated on.
template <Sampler S>
class Epoch {
 public:
  using Packed = PackedBy<S>;
  static constexpr std::uint64_t all = std::numeric_limits<std::uint64_t>::max();

  /// Errors: `Error` for a limit of 0 batches.
  explicit Epoch(S sampler, std::uint64_t limit = all)
      : sampler_(std::move(sampler)), limit_(limit), batch_(sampler_.capacity()) {
    if (limit == 0) throw Error("Epoch: a limit of 0 batches; give at least 1");
    // How far a batch moves the cursor only walking tells: whether the limit is one.
    std::uint64_t next = limit < sampler_.epoch() ? 0 : sampler_.epoch();
    for (std::uint64_t count = 0; count < limit && next < sampler_.epoch(); ++count) next = sampler_.fill(next, batch_);
    is_sample_ = next < sampler_.epoch();
  }

  class Iterator {
   public:
    using value_type = Packed;
    using difference_type = std::ptrdiff_t;

    explicit Iterator(Epoch& epoch) : epoch_(&epoch) {}
    const Packed& operator*() const { return epoch_->batch_; }
    Iterator& operator++() {
      epoch_->fill();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return epoch_->ended_; }

   private:
    Epoch* epoch_;
  };

  Iterator begin() {
    next_ = count_ = 0;
    fill();
    return Iterator(*this);
  }
  std::default_sentinel_t end() const { return {}; }

  typename Packed::Capacity capacity() const { return sampler_.capacity(); }

 private:
  void fill() {
    const std::uint64_t end = sampler_.epoch();
    if (is_sample_) next_ = count_ == limit_ ? end : std::max(next_, share(end));
    ended_ = next_ >= end;
    if (ended_) return;
    next_ = sampler_.fill(next_, batch_);
    ++count_;
  }
  /// count_ / limit_ of `whole`, rounded down.
  std::uint64_t share(std::uint64_t whole) const { return whole / limit_ * count_ + whole % limit_ * count_ / limit_; }

  S sampler_;
  std::uint64_t limit_;
  bool is_sample_ = false;  // of more batches than the limit
  Packed batch_;
  std::uint64_t next_ = 0, count_ = 0;  // cursor of the batch that follows, batches of this walk
  bool ended_ = false;
};

}  // namespace fathom::inline FATHOM_ABI::text
