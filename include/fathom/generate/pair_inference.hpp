// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/packing.hpp>
#include <fathom/core/pair_batch.hpp>
#include <fathom/generate/inference.hpp>
#include <fathom/generate/log_sum_exp.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/weights.hpp>
#include <span>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// `Model` reads a source and a target; the template argument is the message.
template <class Model>
struct CheckTwoStreams {
  static_assert(std::same_as<typename Model::Batch, PairBatch>,
                "fathom: this model reads one stream of tokens: PairInference, PairGenerator and PairScorer take a "
                "Translator; for a LanguageModel there are Inference and Generator");
  static constexpr bool value = true;
};

/// What inference of pairs is planned for.
struct PairInferenceSize {
  int sentences = 1;   ///< side by side
  int hypotheses = 1;  ///< of one sentence
  int source = 1;      ///< tokens of the longest source, at most the encoder's context
  int target = 1;      ///< most tokens of one hypothesis in the cache, at most the decoder's context
  int ranks = 0;       ///< of the largest logits of a hypothesis, so many are found by `step` for `ranking`

  constexpr PairCapacity capacity() const {
    const int rows = sentences * hypotheses;
    return {{.rows = sentences * source, .sequences = sentences, .longest = source, .forward_only = true},
            {.rows = rows, .sequences = rows, .longest = 1, .forward_only = true}};
  }
  /// Of the rows of a step, those of one sentence together.
  constexpr Capacity readers() const {
    return {.rows = sentences * hypotheses, .sequences = sentences, .longest = hypotheses, .forward_only = true};
  }
};

/// A translator that reads: sources, which it encodes once, and for each of them hypotheses of its translation, which
/// grow by a token in each step.
///
///   PairInference<Model, Cpu<>> inference(weights, {.sentences = 2, .hypotheses = 5, .source = 40, .target = 60});
///   inference.start(sources);         encodes them; no hypothesis has a token
///   inference.step(tokens);           reads a token of each hypothesis
///   inference.logits(h)               of the token that follows hypothesis h
///   inference.ranking(h)              the largest of them, which is all that a search needs
///   inference.branch(from, to);       hypothesis `to` goes on from where `from` is
///
/// Hypothesis h is of sentence h / hypotheses. Keys and values are kept: those of the source, computed in the first
/// step, once for all hypotheses of a sentence, and those of each hypothesis. The rest is as with `Inference`: weights
/// are shared and outlive the object, which belongs to one thread at a time, and neither `start` nor `step` allocates.
///
/// Does not compile for a model of one stream, nor for one with a layer whose rows see earlier ones and that does not
/// cache them.
template <class ModelType, class B>
class PairInference {
  static_assert(CheckBackend<B>::value);
  static_assert(CheckTwoStreams<ModelType>::value);
  static_assert(check_leaves<CheckPieces, typename ModelType::Target::Stack>);

 public:
  using Model = ModelType;
  using P = typename B::Precision;
  using Logit = typename P::Activation;
  static constexpr int vocabulary = Model::Target::vocabulary;

  /// Errors: `ShapeError` for a size that is not positive or exceeds the model's contexts.
  PairInference(const Weights<Model, B>& weights, const PairInferenceSize& size,
                const typename B::Options& machine = {})
      : weights_(&weights),
        size_(checked(size)),
        source_rows_(size.capacity().source),
        memory_rows_(size.capacity().source),
        rows_(size.capacity().target),
        readers_(size.readers()),
        lengths_(std::size_t(size.sentences)),
        reading_(std::size_t(size.sentences)),
        none_(std::size_t(size.sentences)),
        past_(std::size_t(size.sentences * size.hypotheses)),
        added_(past_.size()),
        logit_row_(past_.size()),
        origin_(past_.size()),
        branches_(past_.size()),
        context_(machine) {
    const InferenceMemory plan = memory(size);
    cache_ = Memory(plan.cache);
    activations_ = Memory(plan.activations);
    Arena activations = arena_of(activations_);
    values_ = Values::take(activations, size);
    context_.reserve(plan.workspace);
    const PairCapacity capacity = size.capacity();
    source_tokens_.reserve(std::size_t(capacity.source.rows));
    tokens_.reserve(past_.size());
    copies_.reserve(past_.size());
    logits_.resize(past_.size() * std::size_t(vocabulary));
    ranks_.values.resize(past_.size() * std::size_t(size.ranks));
    ranks_.tokens.resize(ranks_.values.size());
    ranks_.log_sum.resize(past_.size());
  }
  PairInference(Weights<Model, B>&&, const PairInferenceSize&, const typename B::Options& = {}) = delete;

  /// What an object of this size allocates on the machine, without making one. Errors: as of the constructor.
  static constexpr InferenceMemory memory(const PairInferenceSize& size) {
    checked(size);
    const PairCapacity capacity = size.capacity();
    Arena cache, activations;
    auto values = Values::take(activations, size);
    const PairBatch batch = PairBatch::planned(capacity);
    const Packing readers = planned_packing(size.readers());
    const PassCost cost = dry_run<B>(batch.output_packing(), {}, [&](auto& worker) {
      const Parameters p;
      Model::encode(worker, p, Flow<P>{}, batch, values.saved);
      decode(worker, p, flow_of(cache, size, readers, {}), batch, values);
    });
    return {cache.peak(), activations.peak(), cost.size};
  }

  /// Encodes these sources, at most as many as planned, and forgets everything before.
  /// Errors: `ShapeError` for a source that is empty or too long or has tokens that the model does not know, and for
  /// none or too many of them; what was there stays.
  void start(std::span<const std::span<const int>> sources) {
    check(sources);
    sentences_ = int(sources.size());
    source_tokens_.clear();
    for (int s = 0; s < sentences_; ++s) {
      const auto& source = sources[std::size_t(s)];
      lengths_[s] = int(source.size());
      source_tokens_.insert(source_tokens_.end(), source.begin(), source.end());
    }
    source_rows_.assign(first(lengths_, sentences_));
    memory_rows_.assign(first(lengths_, sentences_));
    std::fill(past_.begin(), past_.end(), 0);
    forget_branches();
    fresh_ = true;
    context_.run(source_rows_, Pass{}, [&](auto& worker) {
      Values values = values_;
      Model::encode(worker, weights_->params(), Flow<P>{}, PairBatch({worker.packing(), source_tokens_}, {}),
                    values.saved);
    });
  }
  void start(std::span<const int> source) { start(std::span(&source, 1)); }

  /// Reads tokens[h] behind what hypothesis h holds, for all hypotheses of all sentences in one pass. A hypothesis with
  /// a negative token idles: it costs nothing and its logits are gone.
  /// Errors: `ShapeError` for another number of hypotheses, for a token that the model does not know, and where the
  /// cache is full; nothing is read then.
  void step(std::span<const int> tokens) {
    stage(tokens);
    if (tokens_.empty()) return;
    context_.run(rows_, Pass{}, [&](auto& worker) {
      Arena cache = arena_of(cache_);
      Values values = values_;
      const Packing readers = readers_;
      const PairBatch batch({memory_rows_, {}}, {worker.packing(), tokens_, {}});
      decode(worker, weights_->params(), flow_of(cache, size_, readers, copies_), batch, values);
    });
    if (size_.ranks == 0) {
      download(values_.logits.data, std::span(logits_).first(tokens_.size() * std::size_t(vocabulary)));
    } else {
      const std::size_t count = tokens_.size() * std::size_t(size_.ranks);
      download(values_.ranks.data, std::span(ranks_.values).first(count));
      download(values_.ranked.data, std::span(ranks_.tokens).first(count));
      download(values_.log_sum.data(), std::span(ranks_.log_sum).first(tokens_.size()));
    }
    for (int h = 0; h < hypotheses(); ++h) past_[h] += added_[h];
    forget_branches();
    if (fresh_) {  // all layers have the keys and values of the sources
      memory_rows_.assign(first(none_, sentences_), first(lengths_, sentences_));
      fresh_ = false;
    }
  }

  /// Logits of the token that follows hypothesis h, valid until the next `step`, which must have given h a token. They
  /// come from the machine in each step, or, with ranks, when this asks for them.
  std::span<const Logit> logits(int h) {
    const std::size_t first = std::size_t(logit_row_[h]) * std::size_t(vocabulary);
    const auto row = std::span(logits_).subspan(first, std::size_t(vocabulary));
    if (size_.ranks > 0) download(values_.logits.data + first, row);
    return row;
  }

  /// The largest of these logits.
  struct Ranking {
    std::span<const Logit> logits;  ///< in descending order, of equal ones that of the lower token first
    std::span<const int> tokens;    ///< whose they are
    double log_sum;                 ///< the natural log of the sum of all exponentials: what ln p is relative to
  };
  /// Without those that are minus infinity, so there may be fewer than `ranks`.
  /// Errors: `Error` for logits that are not finite.
  Ranking ranking(int h) const {
    const std::size_t row = std::size_t(logit_row_[h]), first = row * std::size_t(size_.ranks);
    const double log_sum = double(ranks_.log_sum[row]);
    if (!std::isfinite(log_sum)) throw Error(not_finite);
    std::size_t count = std::size_t(size_.ranks);
    while (count > 0 && ranks_.tokens[first + count - 1] < 0) --count;
    return {std::span(ranks_.values).subspan(first, count), std::span(ranks_.tokens).subspan(first, count), log_sum};
  }

  /// Makes `to` a copy of `from`, of the same sentence, in the next step. What `to` was is forgotten.
  /// Errors: `ShapeError` when they are of two sentences, and when others have branched from `to`.
  void branch(int from, int to) {
    if (from < 0 || to < 0 || from >= hypotheses() || to >= hypotheses() ||
        from / size_.hypotheses != to / size_.hypotheses)
      throw ShapeError("PairInference: hypothesis " + std::to_string(to) + " cannot go on from hypothesis " +
                       std::to_string(from) + ": they are not of one sentence");
    if (branches_[to] > 0)
      throw ShapeError("PairInference: others go on from hypothesis " + std::to_string(to) +
                       ", so it stays until the next step");
    from = origin_[from];
    past_[to] = past_[from];
    if (from == origin_[to]) return;
    if (origin_[to] != to) --branches_[origin_[to]];
    origin_[to] = from;
    if (from != to) ++branches_[from];
  }

  int sentences() const { return sentences_; }
  /// Of all sentences together.
  int hypotheses() const { return sentences_ * size_.hypotheses; }
  /// Tokens of hypothesis h in the cache.
  int length(int h) const { return past_[h]; }
  int source_length(int sentence) const { return lengths_[sentence]; }

  const PairInferenceSize& size() const { return size_; }
  /// Bytes of everything that `memory` plans.
  std::int64_t allocated_bytes() const { return cache_.size() + activations_.size() + context_.allocated_bytes(); }

 private:
  using Memory = typename B::template Buffer<std::byte>;
  using Parameters = typename Model::template Params<const typename P::Weight>;
  using Counts = Indexed<std::vector<int>>;

  struct Values {
    typename Model::template Saved<P> saved;
    Rows<Logit, vocabulary> logits;  // one row for each hypothesis that has a token, as in what follows
    Matrix<Logit> ranks;
    Matrix<int> ranked;
    Elements<typename P::Statistic> log_sum;

    static constexpr Values take(Arena& arena, const PairInferenceSize& size) {
      const PairCapacity capacity = size.capacity();
      const int rows = capacity.target.rows;
      Values values{.saved = Model::template Saved<P>::take(arena, capacity),
                    .logits = arena.rows<Logit, vocabulary>(rows),
                    .ranks = {},
                    .ranked = {},
                    .log_sum = {}};
      if (size.ranks > 0) {
        values.ranks = {arena.take<Logit>(std::int64_t(rows) * size.ranks), rows, size.ranks, size.ranks};
        values.ranked = {arena.take<int>(std::int64_t(rows) * size.ranks), rows, size.ranks, size.ranks};
        values.log_sum = {arena.take<typename P::Statistic>(rows), std::size_t(rows)};
      }
      return values;
    }
  };

  static constexpr const PairInferenceSize& checked(const PairInferenceSize& size) {
    rows_of(size.sentences, size.source, "PairInference");
    rows_of(rows_of(size.sentences, size.hypotheses, "PairInference"), size.target, "PairInference");
    const auto check = [](int length, int context, const char* side) {
      if (length > context)
        throw ShapeError("PairInference: " + std::string(side) + " of " + std::to_string(length) +
                         " tokens are longer than the model's context of " + std::to_string(context));
    };
    if (size.ranks < 0 || size.ranks > vocabulary)
      throw ShapeError("PairInference: " + std::to_string(size.ranks) + " ranks of a vocabulary of " +
                       std::to_string(vocabulary));
    check(size.source, Model::Source::context, "sources");
    check(size.target, Model::Target::context, "targets");
    return size;
  }

  static std::span<const int> first(const Counts& counts, int count) {
    return std::span<const int>(counts.data(), std::size_t(count));
  }

  static constexpr Flow<P> flow_of(Arena& cache, const PairInferenceSize& size, const Packing& readers,
                                   std::span<const CacheCopy> copies) {
    Flow<P> flow;
    flow.cache = &cache;
    flow.cache_length = size.target;
    flow.cache_copies = copies;
    flow.memory_readers = &readers;
    flow.memory_cache_length = size.source;
    return flow;
  }
  static constexpr void decode(auto& worker, const Parameters& p, const Flow<P>& flow, const PairBatch& batch,
                               Values& values) {
    Model::decode(worker, p, flow, batch, values.saved);
    const int rows = worker.packing().rows();
    const auto logits = resized(values.logits, rows);
    Model::logits(worker, p, resized(values.saved.hidden, rows), logits);
    if (!values.ranks) return;
    const auto first = [rows](auto matrix) {
      matrix.rows = rows;
      return matrix;
    };
    worker(op::RankLogits<P>{.logits = logits,
                             .values = first(values.ranks),
                             .indices = first(values.ranked),
                             .log_sum = values.log_sum.part(0, std::size_t(rows))});
  }

  template <class T>
  void download(const T* from, std::span<T> into) const {
    activations_.download(reinterpret_cast<const std::byte*>(from) - activations_.data(), std::as_writable_bytes(into));
  }

  void check(std::span<const std::span<const int>> sources) const {
    if (sources.empty() || int(sources.size()) > size_.sentences)
      throw ShapeError("PairInference: " + std::to_string(sources.size()) + " sources where 1 to " +
                       std::to_string(size_.sentences) + " were planned");
    for (std::size_t s = 0; s < sources.size(); ++s) {
      const auto refuse = [s](const std::string& what) {
        throw ShapeError("PairInference: source " + std::to_string(s) + what);
      };
      if (sources[s].empty()) refuse(" is empty; there is nothing to translate");
      if (std::ssize(sources[s]) > size_.source)
        refuse(" has " + std::to_string(sources[s].size()) + " tokens where at most " + std::to_string(size_.source) +
               " were planned");
      for (const int token : sources[s])
        if (token < 0 || token >= Model::Source::vocabulary)
          refuse(": token " + std::to_string(token) + " is outside the vocabulary of " +
                 std::to_string(Model::Source::vocabulary) + "; tokenize with the model's vocabulary");
    }
  }

  /// Checks the new tokens and packs them.
  void stage(std::span<const int> tokens) {
    if (sentences_ == 0) throw ShapeError("PairInference: no sources; call start first");
    if (int(tokens.size()) != hypotheses())
      throw ShapeError("PairInference: tokens for " + std::to_string(tokens.size()) + " hypotheses where there are " +
                       std::to_string(hypotheses()) + "; give a negative one to those that idle");
    for (std::size_t h = 0; h < tokens.size(); ++h) {
      if (tokens[h] >= vocabulary)
        throw ShapeError("PairInference: token " + std::to_string(tokens[h]) + " is outside the vocabulary of " +
                         std::to_string(vocabulary) + "; tokenize with the model's vocabulary");
      if (tokens[h] >= 0 && past_[h] == size_.target)
        throw ShapeError("PairInference: hypothesis " + std::to_string(h) + " has " + std::to_string(past_[h]) +
                         " tokens, and there is no room for more");
    }
    tokens_.clear();
    copies_.clear();
    std::fill(reading_.begin(), reading_.end(), 0);
    for (int h = 0; h < hypotheses(); ++h) {
      const int token = tokens[std::size_t(h)];
      added_[h] = token >= 0 ? 1 : 0;
      logit_row_[h] = int(tokens_.size());
      if (origin_[h] != h) copies_.push_back({.from = origin_[h], .to = h, .rows = past_[h]});
      if (token < 0) continue;
      tokens_.push_back(token);
      ++reading_[h / size_.hypotheses];
    }
    rows_.assign(first(added_, hypotheses()), first(past_, hypotheses()));
    readers_.assign(first(reading_, sentences_), first(none_, sentences_));
  }

  void forget_branches() {
    for (int h = 0; h < int(origin_.size()); ++h) origin_[h] = h, branches_[h] = 0;
  }

  const Weights<Model, B>* weights_;
  PairInferenceSize size_;
  int sentences_ = 0;
  bool fresh_ = false;  // no step has read the sources
  PackedRows source_rows_, memory_rows_, rows_, readers_;
  Counts lengths_, reading_, none_;  // of each sentence: tokens of its source, hypotheses in the step, zeros
  Counts past_, added_, logit_row_;  // of each hypothesis: tokens in the cache and in the step, row of its logits
  Counts origin_, branches_;         // of each hypothesis: which it goes on from, and how many others do so from it
  std::vector<CacheCopy> copies_;
  std::vector<int> source_tokens_, tokens_;
  Context<B> context_;
  Memory cache_, activations_;
  Values values_;
  std::vector<Logit> logits_;  // copied from the machine, as are the ranks
  struct {
    std::vector<Logit> values;
    std::vector<int> tokens;
    std::vector<typename P::Statistic> log_sum;
  } ranks_;
};

}  // namespace fathom::inline FATHOM_ABI
