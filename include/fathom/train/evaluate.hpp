// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/weights.hpp>
#include <functional>
#include <limits>
#include <optional>
#include <ranges>
#include <string>

namespace fathom::inline FATHOM_ABI {

/// Batches one after another, each valid until the next: `text::Epoch(sampler)`, an array of `TokenBatch`.
template <class R>
concept BatchRange = std::ranges::input_range<R> && std::convertible_to<std::ranges::range_reference_t<R>, TokenBatch>;

namespace detail {

/// Whether the shards of a packing are those that `PackedRows` cuts its sequences into.
constexpr bool has_own_shards(const Packing& packing) {
  if (packing.sequence_shard.size() != packing.offsets.size()) return false;
  std::size_t shard = 0;
  const auto next_is = [&](int row) { return shard < packing.shards.size() && packing.shards[shard++] == row; };
  for (int s = 0; s < packing.sequences(); ++s) {
    if (packing.sequence_shard[std::size_t(s)] != int(shard)) return false;
    for (int row = 0; row < packing.length(s); row += shard_rows)
      if (!next_is(packing.offsets[std::size_t(s)] + row)) return false;
  }
  return packing.sequence_shard.back() == int(shard) && next_is(packing.rows()) && shard == packing.shards.size();
}

}  // namespace detail

/// Errors: `ShapeError` unless `batch` has this capacity, sequences that fit it, the shards that `PackedRows` gives
/// them and no past rows, a token and a target for each row, and a model of this vocabulary knows them all.
inline void check_batch(const TokenBatch& batch, const Capacity& capacity, int vocabulary) {
  const Packing& packing = batch.packing;
  if (packing.capacity != capacity)
    throw ShapeError("batch: a capacity of " + text_of(packing.capacity) + " where memory was planned for " +
                     text_of(capacity) + "; give both the same");
  const auto refuse = [](const std::string& what) {
    throw ShapeError("batch: its packing " + what + "; pack them with PackedRows::assign or text::Batch");
  };
  bool fits = packing.sequences() > 0 && packing.sequences() <= capacity.sequences && packing.rows() <= capacity.rows &&
              packing.offsets[0] == 0;
  for (int s = 0; fits && s < packing.sequences(); ++s)
    fits = packing.length(s) > 0 && packing.length(s) <= capacity.longest;
  if (!fits) refuse("holds no sequences, or some that do not fit a capacity of " + text_of(capacity));
  if (!packing.past.empty()) refuse("holds sequences with past rows, which only a cache has");
  if (!detail::has_own_shards(packing)) refuse("holds sequences without the shards that belong to them");
  const auto rows = std::size_t(packing.rows());
  if (batch.tokens.size() != rows || batch.targets.size() != rows)
    throw ShapeError("batch: " + std::to_string(batch.tokens.size()) + " tokens and " +
                     std::to_string(batch.targets.size()) + " targets for " + std::to_string(rows) + " rows");
  for (std::size_t i = 0; i < rows; ++i)
    if (batch.tokens[i] < 0 || batch.tokens[i] >= vocabulary || batch.targets[i] >= vocabulary)
      throw ShapeError("batch: row " + std::to_string(i) + " has a token outside the vocabulary of " +
                       std::to_string(vocabulary) + "; tokenize with the model's vocabulary");
}

namespace detail {

/// Forward pass and loss, without dropout. `packing` is that of the batch, or one that differs in `forward_only`.
template <class Model, class B, class P = typename B::Precision>
LossSums batch_loss(Context<B>& context, const typename Model::template Params<const typename P::Weight>& params,
                    const Packing& packing, const TokenBatch& batch, Buffer<std::byte>& activations) {
  LossSums sums;
  context.run(packing, Pass{}, [&](auto& worker) {
    Arena arena = activations.arena();
    auto saved = Model::template Saved<P>::take(arena, packing.capacity);
    Model::forward(worker, params, Flow<P>{}, batch, saved);
    Model::loss(worker, params, batch, saved);
    const LossSums loss = worker.read(&Slots::loss);
    if (worker.first()) sums = loss;
  });
  return sums;
}

template <class Model, class B, class P = typename B::Precision>
constexpr WorkspaceSize evaluation_workspace(const Capacity& capacity) {
  return dry_run<B>(capacity, {},
                    [&](auto& worker) {
                      Arena arena;
                      auto saved = Model::template Saved<P>::take(arena, capacity);
                      const typename Model::template Params<const typename P::Weight> p;
                      const TokenBatch batch{worker.packing(), {}, {}};
                      Model::forward(worker, p, Flow<P>{}, batch, saved);
                      Model::loss(worker, p, batch, saved);
                    })
      .size;
}

}  // namespace detail

/// What an evaluation has summed up.
struct Evaluation : LossSums {
  std::int64_t batches = 0;
  bool stopped = false;  ///< by `EvaluateOptions::stop`: the sums are those of a part
};

/// How an evaluation of a range of batches goes.
struct EvaluateOptions {
  std::int64_t batches = std::numeric_limits<std::int64_t>::max();  ///< at most, the first ones of the range
  std::function<bool()> stop = {};                       ///< asked before each batch; true ends the evaluation there
  std::function<void(const Evaluation&)> progress = {};  ///< told behind each batch what is summed up so far
};

namespace detail {

/// The sum of `loss(batch)` over a range.
template <BatchRange R, class Loss>
Evaluation evaluate_each(R&& batches, const EvaluateOptions& options, Loss&& loss) {
  Evaluation sums;
  for (auto&& batch : batches) {
    if (sums.batches >= options.batches) break;
    sums.stopped = options.stop && options.stop();
    if (sums.stopped) break;
    sums += loss(TokenBatch(batch));
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
/// Errors: `ShapeError` for a batch of another capacity than the first one's, longer than the model's context, or with
/// tokens that the model does not know.
template <class Model, class B, BatchRange R>
Evaluation evaluate(const Weights<Model, B>& weights, R&& batches, const typename B::Options& machine = {},
                    const EvaluateOptions& options = {}) {
  Context<B> context(machine);
  Buffer<std::byte> activations;
  std::optional<Capacity> capacity;
  return detail::evaluate_each(batches, options, [&](const TokenBatch& batch) {
    Packing packing = batch.packing;
    packing.capacity.forward_only = true;
    if (!capacity) {
      capacity = batch.packing.capacity;
      check_capacity(*capacity, "evaluate", Model::context);
      activations = Buffer<std::byte>(saved_bytes<Model, typename B::Precision>(packing.capacity));
      context.reserve(detail::evaluation_workspace<Model, B>(packing.capacity));
    }
    check_batch(batch, *capacity, Model::vocabulary);
    return detail::batch_loss<Model>(context, weights.params(), packing, batch, activations);
  });
}

}  // namespace fathom::inline FATHOM_ABI
