// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/dry_run.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <fathom/layers/layer.hpp>

/// What a model is: an empty type with static functions, whose batch and capacity are its own. Trainer, evaluation,
/// checkpoints and memory plan know no more of it than this.
///
///   name                              what checkpoints call it
///   Batch, Capacity                   what it trains on, see core/batch.hpp: `using Capacity = Batch::Capacity`
///   check_capacity(capacity, owner)   throws `ShapeError` that begins with `owner` for one that it cannot have
///   check(batch, capacity)            throws `ShapeError` for a batch that it cannot read, or of another capacity
///   describe(fact)                    calls `fact(key, value)` for each choice that its numbers depend on, as a layer
///                                     does; `std::type_identity<Stack>{}` for a stack, which has a `depth`
///   Params<T>, Saved<P>               as of a layer; `Saved<P>::take(arena, capacity)`; `stack_output()`, rows of
///                                     which the output layer makes predictions, for who measures how far they move
///   forward(worker, params, flow, batch, saved)
///       saved OVERWRITTEN. The worker is on `batch.output_packing()`.
///   loss(worker, params, batch, saved)
///       the loss of `batch` after `forward`, without gradients, in Slots::loss.
///   backward(worker, params, gradients, flow, batch, saved, options, target_weight)
///       the same, and the gradients of target_weight · loss ADDED TO gradients.
namespace fathom::inline FATHOM_ABI {

/// What one training pass of a model costs on backend B: a dry run of forward and backward. Errors: `ShapeError` of
/// `Model::check_capacity`, whose rule the compiler names in constant evaluation.
template <class Model, class B>
constexpr PassCost training_cost(const typename Model::Capacity& capacity, const DropoutRates& dropout = {}) {
  using P = typename B::Precision;
  Model::check_capacity(capacity, "training");
  const auto batch = Model::Batch::planned(capacity);
  return dry_run<B>(batch.output_packing(), dropout, [&](auto& worker) {
    Arena arena;
    auto saved = Model::template Saved<P>::take(arena, capacity);
    const typename Model::template Params<const typename P::Weight> p;
    const typename Model::template Params<typename P::Gradient> dp;
    Model::forward(worker, p, Flow<P>{}, batch, saved);
    Model::backward(worker, p, dp, Flow<P>{}, batch, saved, LossOptions{}, 1);
  });
}

/// What a forward pass with its loss costs.
template <class Model, class B>
constexpr PassCost evaluation_cost(const typename Model::Capacity& capacity) {
  using P = typename B::Precision;
  const auto batch = Model::Batch::planned(capacity);
  return dry_run<B>(batch.output_packing(), {}, [&](auto& worker) {
    Arena arena;
    auto saved = Model::template Saved<P>::take(arena, capacity);
    const typename Model::template Params<const typename P::Weight> p;
    Model::forward(worker, p, Flow<P>{}, batch, saved);
    Model::loss(worker, p, batch, saved);
  });
}

}  // namespace fathom::inline FATHOM_ABI
