// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <string>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// An average of snapshots of a model's weights, in one flat buffer of the weights' layout. Evaluates better than the
/// last weights do, and costs no forward pass.
///
/// Snapshot n replaces the average A by d · A + (1 − d) · weights, d = min(decay, 1 − 1/n). So A is the mean of all
/// snapshots while n <= 1 / (1 − decay), then an exponential moving average: it needs no correction for its start. With
/// decay 1 it is the mean of all snapshots for ever: add the last k of a run to have their mean.
/// Source: Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4); Izmailov et al. 2018, arXiv:1803.05407.
template <class B>
class WeightAverage {
 public:
  using P = typename B::Precision;
  using Master = typename P::Master;
  using Memory = typename B::template Buffer<Master>;

  /// For a model of `size` elements. Errors: `Error` when decay is not in [0, 1].
  WeightAverage(std::int64_t size, double decay) : decay_(decay), flat_(size) {
    if (!(decay >= 0 && decay <= 1))
      throw Error("WeightAverage: decay must be in [0, 1], 1 for the mean of all snapshots");
  }

  /// Takes a snapshot of `weights`. Errors: `ShapeError` when they are of another size.
  void add(Context<B>& context, Elements<const Master> weights) {
    check(weights.size());
    const double previous = double(count_++);
    const double decay = std::min(decay_, previous / (previous + 1));
    context.run(Packing{}, Pass{},
                [&](auto& worker) { worker(op::Average<P>{.x = weights, .average = flat_, .decay = decay}); });
  }

  /// Forgets all snapshots.
  void clear() {
    count_ = 0;
    flat_.zero();
  }

  /// Weights exchanged for their average until the guard is gone: the buffers change places, so that views which were
  /// bound before stay with what they saw. The average must not be added to meanwhile.
  class Exchange {
   public:
    Exchange(Memory& a, Memory& b) : a_(&a), b_(&b) { std::swap(*a_, *b_); }
    Exchange(Exchange&& other) noexcept : a_(std::exchange(other.a_, nullptr)), b_(other.b_) {}
    Exchange& operator=(Exchange&&) = delete;
    ~Exchange() {
      if (a_ != nullptr) std::swap(*a_, *b_);
    }

   private:
    Memory *a_, *b_;
  };
  /// Errors: `Error` when there is no snapshot yet, `ShapeError` when `weights` are of another size.
  [[nodiscard]] Exchange exchange_with(Memory& weights) {
    check(std::size_t(weights.size()));
    if (count_ == 0) throw Error("WeightAverage: no snapshot has been added yet, so there is no average");
    return {weights, flat_};
  }

  /// What a checkpoint holds: the flat buffer and the number of snapshots.
  Memory& flat() { return flat_; }
  const Memory& flat() const { return flat_; }
  std::int64_t count() const { return count_; }
  void restore(std::int64_t count) { count_ = count; }

 private:
  void check(std::size_t size) const {
    if (std::int64_t(size) != flat_.size())
      throw ShapeError("WeightAverage: weights of " + std::to_string(size) + " elements for an average of " +
                       std::to_string(flat_.size()) + "; both must be of one model");
  }

  double decay_;
  std::int64_t count_ = 0;
  Memory flat_;
};

}  // namespace fathom::inline FATHOM_ABI
