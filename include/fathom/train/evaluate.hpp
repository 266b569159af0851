// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/model.hpp>
#include <fathom/models/weights.hpp>
#include <functional>
#include <limits>
#include <optional>
#include <ranges>
#include <string>

namespace fathom::inline FATHOM_ABI {

/// Batches one after another, each valid until the next: `text::Epoch(sampler)`, an array of `TokenBatch`.
template <class R, class Batch = TokenBatch>
concept BatchRange = std::ranges::input_range<R> && std::convertible_to<std::ranges::range_reference_t<R>, Batch>;

namespace detail {

/// Forward pass and loss. `activations` is what a pass of this capacity saves.
template <class Model, class B, class P = typename B::Precision>
LossSums batch_loss(Context<B>& context, const typename Model::template Params<const typename P::Weight>& params,
                    const typename Model::Batch& batch, const typename Model::Capacity& capacity,
                    typename B::template Buffer<std::byte>& activations, const Pass& pass = {}) {
  LossSums sums;
  context.run(batch.output_packing(), pass, [&](auto& worker) {
    Arena arena = arena_of(activations);
    auto saved = Model::template Saved<P>::take(arena, capacity);
    Model::forward(worker, params, Flow<P>{}, batch, saved);
    Model::loss(worker, params, batch, saved);
    const LossSums loss = worker.read(&Slots::loss);
    if (worker.first()) sums = loss;
  });
  return sums;
}

}  // namespace detail

/// What an evaluation has summed up.
struct Evaluation : LossSums {
  std::int64_t batches = 0;
  bool stopped = false;  ///< by `EvaluateOptions::stop`: the sums are those of a part
};

/// How an evaluation of a range of batches goes.
struct EvaluateOptions {
  std::int64_t batches = std::numeric_limits<std::int64_t>::max();  ///< at most, the first of the range; at least 1
  std::function<bool()> stop = {};                       ///< asked before each batch; true ends the evaluation there
  std::function<void(const Evaluation&)> progress = {};  ///< told behind each batch what is summed up so far
};

namespace detail {

/// The sum of `loss(batch)` over a range.
template <class Batch, BatchRange<Batch> R, class Loss>
Evaluation evaluate_each(R&& batches, const EvaluateOptions& options, Loss&& loss) {
  if (options.batches < 1) throw Error("evaluate: " + std::to_string(options.batches) + " batches; give at least 1");
  Evaluation sums;
  for (auto&& batch : batches) {
    if (sums.batches >= options.batches) break;
    sums.stopped = options.stop && options.stop();
    if (sums.stopped) break;
    sums += loss(Batch(batch));
    ++sums.batches;
    if (options.progress) options.progress(sums);
  }
  return sums;
}

}  // namespace detail

/// The loss of a model on batches of one capacity. Needs the weights and, whatever the depth, the activations of one
/// block: no gradients and no optimizer.
///
///   const double nats = evaluate(weights, text::Epoch(windows)).mean();              all of the text
///   const double about = evaluate(weights, text::Epoch(windows, 30)).mean();         30 batches from all over it
///
/// Errors: `Error` for `options.batches` below 1; `ShapeError` for a batch of another capacity than the first one's,
/// longer than the model's context, or with tokens that the model does not know.
template <class Model, class B, BatchRange<typename Model::Batch> R>
Evaluation evaluate(const Weights<Model, B>& weights, R&& batches, const typename B::Options& machine = {},
                    const EvaluateOptions& options = {}) {
  using Batch = typename Model::Batch;
  Context<B> context(machine);
  typename B::template Buffer<std::byte> activations;
  std::optional<typename Model::Capacity> capacity;
  return detail::evaluate_each<Batch>(batches, options, [&](const Batch& batch) {
    const Batch reading = batch.forward_only();
    if (!capacity) {
      capacity = batch.capacity();
      Model::check_capacity(*capacity, "evaluate");
      activations = typename B::template Buffer<std::byte>(saved_bytes<Model, typename B::Precision>(reading.capacity()));
      context.reserve(evaluation_cost<Model, B>(reading.capacity()).size);
    }
    Model::check(batch, *capacity);
    return detail::batch_loss<Model>(context, weights.params(), reading, reading.capacity(), activations);
  });
}

}  // namespace fathom::inline FATHOM_ABI
