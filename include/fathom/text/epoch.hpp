// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/text/batch.hpp>
#include <iterator>
#include <utility>

namespace fathom::inline FATHOM_ABI::text {

/// The batches of one pass over a sampler's text, in a range that can be walked again and again:
///
///   for (const text::Batch& batch : epoch) …
///
/// One batch, allocated at construction, is filled anew at each step: a batch is valid until the next, and one walk at
/// a time is possible. With a sampler whose order is that of the text this is what a loss is evaluated on.
template <Sampler S>
class Epoch {
 public:
  explicit Epoch(S sampler) : sampler_(std::move(sampler)), batch_(sampler_.capacity()) {}

  class Iterator {
   public:
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;

    explicit Iterator(Epoch& epoch) : epoch_(&epoch) {}
    const Batch& operator*() const { return epoch_->batch_; }
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
    next_ = 0;
    fill();
    return Iterator(*this);
  }
  std::default_sentinel_t end() const { return {}; }

  Capacity capacity() const { return sampler_.capacity(); }

 private:
  void fill() {
    ended_ = next_ >= sampler_.epoch();
    if (!ended_) next_ = sampler_.fill(next_, batch_);
  }

  S sampler_;
  Batch batch_;
  std::uint64_t next_ = 0;
  bool ended_ = false;
};

}  // namespace fathom::inline FATHOM_ABI::text
