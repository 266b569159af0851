// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/pair_batch.hpp>
#include <fathom/generate/log_sum_exp.hpp>
#include <fathom/generate/pair_inference.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/weights.hpp>
#include <span>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// What a model says of given targets, of all pairs of a batch in one pass.
///
///   PairScorer<Model, Cpu<>> scorer(weights, capacity);
///   for (double log_probability : scorer(batch)) …        one for each row of the target
///
/// Ownership and threads as of `PairInference`. Everything is allocated here; a call allocates nothing.
template <class ModelType, class B>
class PairScorer {
  static_assert(CheckBackend<B>::value);
  static_assert(CheckTwoStreams<ModelType>::value);

 public:
  using Model = ModelType;
  using P = typename B::Precision;

  /// Errors: `ShapeError` for a capacity that batches of the model cannot have.
  PairScorer(const Weights<Model, B>& weights, const PairCapacity& capacity, const typename B::Options& machine = {})
      : weights_(&weights),
        capacity_(checked(capacity)),
        piece_rows_({.rows = most_rows, .sequences = 1, .longest = most_rows}),
        context_(machine) {
    Arena counted;
    Values::take(counted, capacity_);
    activations_ = Memory(counted.peak());
    Arena activations = arena_of(activations_);
    values_ = Values::take(activations, capacity_);
    context_.reserve(workspace(capacity_));
    logits_.resize(std::size_t(most_rows) * std::size_t(vocabulary));
    log_probabilities_.reserve(std::size_t(capacity_.target.rows));
  }
  PairScorer(Weights<Model, B>&&, const PairCapacity&, const typename B::Options& = {}) = delete;

  /// ln p of the target of each row, 0 where there is none; valid until the next call. The sum over the rows of a
  /// sequence is that of a translation, when its last target is the end token.
  /// Errors: `ShapeError` for a batch that is not the model's, or of another capacity.
  std::span<const double> operator()(const PairBatch& given) {
    PairBatch batch = given.forward_only();
    Model::check(batch, capacity_);
    context_.run(batch.target.packing, Pass{}, [&](auto& worker) {
      Values values = values_;
      Model::forward(worker, weights_->params(), Flow<P>{}, batch, values.saved);
    });
    const int rows = batch.target.packing.rows();
    log_probabilities_.clear();
    for (int row = 0; row < rows; row += most_rows) read(row, std::min(most_rows, rows - row), batch.target.targets);
    return log_probabilities_;
  }

  const PairCapacity& capacity() const { return capacity_; }

 private:
  static constexpr int vocabulary = Model::Target::vocabulary;
  static constexpr int most_rows = 64;  // of logits at a time
  using Memory = typename B::template Buffer<std::byte>;
  using Logit = typename P::Activation;

  struct Values {
    typename Model::template Saved<P> saved;
    Rows<Logit, vocabulary> logits;

    static constexpr Values take(Arena& arena, const PairCapacity& capacity) {
      auto saved = Model::template Saved<P>::take(arena, capacity);
      return {saved, arena.rows<Logit, vocabulary>(most_rows)};
    }
  };

  static PairCapacity checked(PairCapacity capacity) {
    Model::check_capacity(capacity, "PairScorer");
    capacity.source.forward_only = capacity.target.forward_only = true;
    return capacity;
  }
  static WorkspaceSize workspace(const PairCapacity& capacity) {
    Arena activations;
    auto values = Values::take(activations, capacity);
    const typename Model::template Params<const typename P::Weight> p;
    const PairBatch batch = PairBatch::planned(capacity);
    const PassCost pass = dry_run<B>(batch.output_packing(), {}, [&](auto& worker) {
      Model::forward(worker, p, Flow<P>{}, batch, values.saved);
    });
    const PassCost logits = dry_run<B>(Capacity{most_rows, 1, most_rows}, {}, [&](auto& worker) {
      Model::logits(worker, p, resized(values.saved.hidden, most_rows), values.logits);
    });
    return max(pass.size, logits.size);
  }

  /// Appends the values of `count` rows from `row` on.
  void read(int row, int count, std::span<const int> targets) {
    piece_rows_.assign(std::span(&count, 1));
    context_.run(piece_rows_, Pass{}, [&](auto& worker) {
      Model::logits(worker, weights_->params(),
                    {values_.saved.hidden.data + std::int64_t(row) * Model::Target::width, count},
                    resized(values_.logits, count));
    });
    const auto rows = std::span(logits_).first(std::size_t(count) * std::size_t(vocabulary));
    activations_.download(reinterpret_cast<const std::byte*>(values_.logits.data) - activations_.data(),
                          std::as_writable_bytes(rows));
    for (int r = 0; r < count; ++r) {
      const int target = targets[std::size_t(row + r)];
      const std::span<const Logit> logits =
          rows.subspan(std::size_t(r) * std::size_t(vocabulary), std::size_t(vocabulary));
      log_probabilities_.push_back(target < 0 ? 0.0 : double(logits[std::size_t(target)]) - log_sum_exp(logits));
    }
  }

  const Weights<Model, B>* weights_;
  PairCapacity capacity_;
  PackedRows piece_rows_;
  Context<B> context_;
  Memory activations_;
  Values values_;
  std::vector<Logit> logits_;
  std::vector<double> log_probabilities_;
};

}  // namespace fathom::inline FATHOM_ABI
