// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/weights.hpp>
#include <iterator>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// `Model` reads one stream of tokens; the template argument is the message.
template <class Model>
struct CheckOneStream {
  static_assert(std::same_as<typename Model::Batch, TokenBatch>,
                "fathom: this model reads more than one stream of tokens: Inference and Generator take a "
                "LanguageModel; for a Translator there are PairInference and PairGenerator");
  static constexpr bool value = true;
};

/// A text may come to `L` in pieces; the template argument is the message.
template <class L>
struct CheckPieces {
  static_assert(L::sees != Sees::all,
                "fathom: a row of this layer sees rows behind it, which are not there yet when a text is continued: "
                "Inference and Generator take a LanguageModel. For a MaskedLanguageModel there are evaluate(weights, "
                "batches), and Model::logits after a Model::forward without a cache");
  static_assert(L::sees == Sees::all || reads_in_pieces<L>,
                "fathom: a row of this layer sees earlier rows, and it does not say that it caches them, so it cannot "
                "continue a text: let forward keep them with flow.take_cache and say `static constexpr bool caches = "
                "true;`; see layer.hpp");
  static constexpr bool value = reads_in_pieces<L>;
};

/// What inference is planned for.
struct InferenceSize {
  int sequences = 1;  ///< side by side
  int pass = 1;       ///< most tokens of one sequence that are read at once
  int length = 1;     ///< most tokens of one sequence in the cache, at most the model's context

  constexpr Capacity capacity() const {
    return {.rows = sequences * pass, .sequences = sequences, .longest = pass, .forward_only = true};
  }
};

/// Bytes that inference needs beside the weights.
struct InferenceMemory {
  std::int64_t cache = 0;        ///< what layers keep of earlier rows: keys and values of every attention layer
  std::int64_t activations = 0;  ///< what outlives a block, and the logits: the same for every depth
  WorkspaceSize workspace;       ///< one block's values and temporaries

  constexpr std::int64_t total(int lanes) const { return cache + activations + workspace.total(lanes); }
};

/// A language model that reads: a key/value cache for a number of sequences, and the logits of what comes next.
///
///   Inference<Model, Cpu<>> inference(weights, {.sequences = 2, .pass = 16, .length = 64});
///   inference.append(tokens);         reads new tokens of each sequence in one pass
///   inference.logits(s)               of the token that follows sequence s
///   inference.rewind(s, length);      forgets the end of sequence s
///
/// Takes only `const` weights, which any number of threads may share; the object itself, with its context, belongs to
/// one thread at a time. The weights must outlive it. Everything is allocated here; `append` allocates nothing.
///
/// Does not compile for a model of more than one stream, nor for one with a layer whose rows see rows behind them, or
/// earlier ones that it does not cache.
template <class ModelType, class B>
class Inference {
  static_assert(CheckBackend<B>::value);
  static_assert(CheckOneStream<ModelType>::value);
  static_assert(check_leaves<CheckPieces, typename ModelType::Stack> && reads_in_pieces<typename ModelType::Stack>);

 public:
  using Model = ModelType;
  using P = typename B::Precision;
  using Logit = typename P::Activation;
  using Memory = typename B::template Buffer<std::byte>;

  /// Errors: `ShapeError` for a size that is not positive or exceeds the model's context.
  Inference(const Weights<Model, B>& weights, const InferenceSize& size, const typename B::Options& machine = {})
      : weights_(&weights),
        size_(checked(size)),
        rows_(size.capacity()),
        one_row_(PackedRows::uniform(1, 1)),
        past_(std::size_t(size.sequences)),
        added_(std::size_t(size.sequences)),
        logit_row_(std::size_t(size.sequences)),
        context_(machine) {
    const InferenceMemory plan = memory(size);
    cache_ = Memory(plan.cache);
    activations_ = Memory(plan.activations);
    Arena activations = arena_of(activations_);
    values_ = Values::take(activations, size.capacity());
    context_.reserve(plan.workspace);
    tokens_.reserve(std::size_t(size.capacity().rows));
    logits_.resize(std::size_t(size.sequences) * std::size_t(Model::vocabulary));
  }
  Inference(Weights<Model, B>&&, const InferenceSize&, const typename B::Options& = {}) = delete;

  /// What an object of this size allocates, without making one. Errors: as of the constructor.
  static constexpr InferenceMemory memory(const InferenceSize& size) {
    checked(size);
    Arena cache, activations;
    auto values = Values::take(activations, size.capacity());
    const PassCost cost = dry_run<B>(size.capacity(), {}, [&](auto& worker) {
      const Parameters p;
      forward(worker, p, cache, size.length, TokenBatch{worker.packing(), {}, {}}, values);
      Model::logits(worker, p, resized(values.saved.hidden, size.sequences), values.logits);
    });
    return {cache.peak(), activations.peak(), cost.size};
  }

  /// Reads tokens[s] behind what sequence s holds, for all sequences in one pass. A sequence without new tokens idles:
  /// it costs nothing and its logits are gone.
  /// Errors: `ShapeError` for another number of sequences, for more tokens than fit, and for tokens that the model does
  /// not know; nothing is read then.
  void append(std::span<const std::span<const int>> tokens) {
    stage(tokens);
    if (tokens_.empty()) return;
    const auto active = std::ranges::count_if(added_, [](int count) { return count > 0; });
    const bool one_each = std::ssize(tokens_) == active;
    context_.run(rows_, Pass{}, [&](auto& worker) {
      Arena cache = arena_of(cache_);
      Values values = values_;
      const Parameters p = weights_->params();
      forward(worker, p, cache, size_.length, TokenBatch{worker.packing(), tokens_, {}}, values);
      const auto hidden = [&](int row, int count) {
        return Hidden{values.saved.hidden.data + std::int64_t(row) * Model::width, count};
      };
      if (one_each) return Model::logits(worker, p, hidden(0, int(active)), resized(values.logits, int(active)));
      worker.wait();  // the last rows were other lanes' until here
      const Packing one_row = one_row_;
      const auto elsewhere = worker.on(one_row);
      for (int s = 0; s < size_.sequences; ++s)
        if (added_[s] > 0) Model::logits(worker, p, hidden(rows_.view().offsets[s + 1] - 1, 1), {logit_data(s), 1});
    });
    const std::byte* const from = reinterpret_cast<const std::byte*>(values_.logits.data);
    activations_.download(from - activations_.data(),
                          std::as_writable_bytes(std::span(logits_).first(std::size_t(active) * Model::vocabulary)));
    for (int s = 0; s < size_.sequences; ++s) past_[s] += added_[s];
  }

  /// Logits of the token that follows sequence s, valid until the next `append`, which must have given s tokens.
  std::span<const Logit> logits(int s) const {
    return std::span(logits_).subspan(std::size_t(logit_row_[s]) * Model::vocabulary, Model::vocabulary);
  }

  /// Tokens of sequence s in the cache.
  int length(int s) const { return past_[s]; }
  /// Keeps the first `length` tokens of sequence s, at most those it has.
  void rewind(int s, int length) { past_[s] = std::min(past_[s], length); }

  const InferenceSize& size() const { return size_; }
  /// Bytes of everything that `memory` plans.
  std::int64_t allocated_bytes() const { return cache_.size() + activations_.size() + context_.allocated_bytes(); }

 private:
  using Parameters = typename Model::template Params<const typename P::Weight>;
  using Hidden = Rows<const typename P::Activation, Model::width>;

  struct Values {
    typename Model::template Saved<P> saved;
    Rows<Logit, Model::vocabulary> logits;  // one row for each sequence that has new tokens

    static constexpr Values take(Arena& arena, const Capacity& capacity) {
      auto saved = Model::template Saved<P>::take(arena, capacity);
      return {saved, arena.rows<Logit, Model::vocabulary>(capacity.sequences)};
    }
  };

  static constexpr const InferenceSize& checked(const InferenceSize& size) {
    rows_of(size.sequences, size.pass, "Inference");
    rows_of(size.sequences, size.length, "Inference");
    if (size.length > Model::context)
      throw ShapeError("Inference: sequences of " + std::to_string(size.length) +
                       " tokens are longer than the model's context of " + std::to_string(Model::context));
    return size;
  }

  static constexpr void forward(auto& worker, const Parameters& p, Arena& cache, int length, const TokenBatch& batch,
                                Values& values) {
    Flow<P> flow;
    flow.cache = &cache;
    flow.cache_length = length;
    Model::forward(worker, p, flow, batch, values.saved);
  }

  Logit* logit_data(int s) const { return values_.logits.data + std::int64_t(logit_row_[s]) * Model::vocabulary; }

  /// Checks the new tokens and packs them.
  void stage(std::span<const std::span<const int>> tokens) {
    if (int(tokens.size()) != size_.sequences)
      throw ShapeError("Inference: tokens for " + std::to_string(tokens.size()) + " sequences where there are " +
                       std::to_string(size_.sequences) + "; give an empty span to those that idle");
    for (std::size_t s = 0; s < tokens.size(); ++s) {
      if (int(tokens[s].size()) > size_.length - past_[s])
        throw ShapeError("Inference: sequence " + std::to_string(s) + " has room for " +
                         std::to_string(size_.length - past_[s]) + " more tokens, not " +
                         std::to_string(tokens[s].size()));
      for (const int token : tokens[s])
        if (token < 0 || token >= Model::vocabulary)
          throw ShapeError("Inference: token " + std::to_string(token) + " is outside the vocabulary of " +
                           std::to_string(Model::vocabulary) + "; tokenize with the model's vocabulary");
    }
    int row = 0;
    for (std::size_t s = 0; s < tokens.size(); ++s) {
      added_[s] = int(tokens[s].size());
      logit_row_[s] = row;
      row += tokens[s].empty() ? 0 : 1;
    }
    rows_.assign(added_, past_);
    tokens_.clear();
    for (const auto& added : tokens) tokens_.insert(tokens_.end(), added.begin(), added.end());
  }

  const Weights<Model, B>* weights_;
  InferenceSize size_;
  PackedRows rows_, one_row_;
  Indexed<std::vector<int>> past_, added_;  // rows of each sequence: in the cache, of the pass
  Indexed<std::vector<int>> logit_row_;
  std::vector<int> tokens_;
  Context<B> context_;
  Memory cache_, activations_;
  Values values_;
  std::vector<Logit> logits_;  // copied from the machine, rows as in values_
};

}  // namespace fathom::inline FATHOM_ABI
