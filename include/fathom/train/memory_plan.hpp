// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/backends.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/model.hpp>
#include <fathom/optim/optimizer.hpp>
#include <fathom/train/padding.hpp>
#include <iomanip>
#include <sstream>
#include <string>

namespace fathom::inline FATHOM_ABI {

/// Bytes that training allocates, before the first step and never after it.
struct MemoryPlan {
  std::int64_t weights = 0;
  std::int64_t masters = 0;  ///< that weights are rounded from, where they have a type of their own
  std::int64_t gradients = 0, optimizer = 0;
  std::int64_t average = 0;      ///< of the weights, if one is kept
  std::int64_t activations = 0;  ///< what forward saves for backward
  std::int64_t workspace = 0;    ///< temporaries, scratch of the threads' ops included

  constexpr std::int64_t total() const {
    return weights + masters + gradients + optimizer + average + activations + workspace;
  }
  /// Beside it, from the first checkpoint on: the copy of the state that `CheckpointWriter` keeps.
  constexpr std::int64_t checkpoint_copy() const { return (masters > 0 ? masters : weights) + optimizer + average; }
};

/// What one training step of `Model` needs besides its buffers: forward, backward, gradient norm and update.
template <class Model, class B, class Optimizer>
constexpr WorkspaceSize step_workspace(const typename Model::Capacity& capacity, const DropoutRates& dropout = {}) {
  using P = typename B::Precision;
  constexpr Extent extent = parameter_extent<Model>();
  const auto batch = Model::Batch::planned(capacity);
  const PassCost update = dry_run<B>(batch.output_packing(), {}, [&](auto& worker) {
    const Elements<typename P::Gradient> gradient(nullptr, std::size_t(extent.total()));
    worker(op::SumOfSquares<P>{.x = gradient, .result = worker.slot(&Slots::squares)});
    Optimizer::update(worker, typename Optimizer::Options{}, UpdateStep{.number = 1, .learning_rate = 1},
                      FlatModel<P>{.extent = extent});
  });
  return max(training_cost<Model, B>(capacity, dropout).size, update.size);
}

/// The plan of training `Model` on backend `B` with batches up to `capacity`, with or without an average of the
/// weights: a compile-time fact.
///
///   static_assert(training_memory<Model, Cpu<>, AdamW>(capacity).total() < 24_GiB);
template <class Model, class B, class Optimizer>
constexpr MemoryPlan training_memory(const typename Model::Capacity& capacity, int threads = 1,
                                     const DropoutRates& dropout = {}, bool average = false) {
  static_assert(CheckBackend<B>::value);
  using P = typename B::Precision;
  constexpr std::int64_t elements = parameter_extent<Model>().total();
  const auto kept = BatchPadding<B, typename Model::Batch>::planned(capacity);
  return {.weights = elements * std::int64_t(sizeof(typename P::Weight)),
          .masters = updates_weights<P> ? 0 : elements * std::int64_t(sizeof(typename P::Master)),
          .gradients = elements * std::int64_t(sizeof(typename P::Gradient)),
          .optimizer = Optimizer::template state_size<Model>() * std::int64_t(sizeof(typename P::Master)),
          .average = average ? elements * std::int64_t(sizeof(typename P::Master)) : 0,
          .activations = saved_bytes<Model, P>(kept),
          .workspace = step_workspace<Model, B, Optimizer>(kept, dropout).total(threads)};
}

/// For `recomputed`: more blocks than any stack has.
inline constexpr int every_block = 1 << 20;

/// The fewest blocks of each stack, the first ones, that have to be computed again in backward for training to take at
/// most `bytes`: for `TrainerOptions::recomputed`. Each costs a forward pass more; bits are the same.
/// Errors: `Error` with what training takes at least, when that is more.
template <class Model, class B, class Optimizer>
constexpr int least_recomputed(const typename Model::Capacity& capacity, std::int64_t bytes, int threads = 1,
                               const DropoutRates& dropout = {}, bool average = false) {
  const auto needed = [&](int recomputed) {
    return training_memory<Model, B, Optimizer>(recomputing(capacity, recomputed), threads, dropout, average).total();
  };
  if (needed(0) <= bytes) return 0;
  int few = 0, enough = every_block;
  if (const std::int64_t least = needed(enough); least > bytes)
    throw Error("training takes at least " + std::to_string(least) + " bytes, with every layer computed again in " +
                "backward, and may take " + std::to_string(bytes) + "; take a smaller batch or model");
  while (enough - few > 1) {
    const int middle = few + (enough - few) / 2;
    (needed(middle) <= bytes ? enough : few) = middle;
  }
  return enough;
}

/// As messages say it: "1.5 GiB: weights 0.25, gradients 0.5, …".
inline std::string text_of(const MemoryPlan& plan) {
  std::ostringstream text;
  const auto gib = [](std::int64_t bytes) { return double(bytes) / double(1_GiB); };
  text << std::setprecision(3) << gib(plan.total()) << " GiB: weights " << gib(plan.weights);
  const auto add = [&](const char* name, std::int64_t bytes) {
    if (bytes > 0) text << ", " << name << ' ' << gib(bytes);
  };
  add("masters", plan.masters), add("gradients", plan.gradients), add("optimizer", plan.optimizer);
  add("average", plan.average), add("activations", plan.activations), add("workspace", plan.workspace);
  return text.str();
}

/// Errors: `Error` on a backend that knows how much of its memory is free, when training takes more: with the plan, and
/// with one that fits, if there is one.
template <class Model, class B, class Optimizer>
void check_memory(const typename Model::Capacity& capacity, int recomputed, const DropoutRates& dropout, bool average,
                  [[maybe_unused]] const typename B::Options& machine) {
  if constexpr (requires { B::free_bytes(machine); }) {
    const auto plan = [&](int blocks) {
      return training_memory<Model, B, Optimizer>(recomputing(capacity, blocks), 1, dropout, average);
    };
    const std::int64_t free = B::free_bytes(machine);
    if (plan(recomputed).total() <= free) return;
    std::ostringstream text;
    text << "Trainer: training takes " << text_of(plan(recomputed)) << "; the machine has " << std::setprecision(3)
         << double(free) / double(1_GiB) << " GiB free for it; ";
    if (plan(every_block).total() <= free) {
      const int least = least_recomputed<Model, B, Optimizer>(capacity, free, 1, dropout, average);
      text << "recomputed = " << least << " in TrainerOptions, or --memory of a program, takes "
           << text_of(plan(least));
    } else {
      text << "with every layer computed again in backward it takes " << text_of(plan(every_block))
           << "; take a smaller batch or model";
    }
    throw Error(text.str());
  }
}

}  // namespace fathom::inline FATHOM_ABI
