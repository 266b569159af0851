// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/model.hpp>
#include <fathom/models/token_output.hpp>
#include <fathom/models/token_stack.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

/// A `TokenStack` and a `TokenOutput`: what decoder-only language models and encoder-only masked language models have
/// in common. Options: those of the two.
template <class VocabularyType, class LengthType, class StackType, class... Options>
struct TokenModel {
  static_assert(
      (option_is_one_of<Options, PositionsTag, OutputTag, OutputBiasTag, EmbeddingTag, LogitsTag, EmbeddingDecayTag> &&
       ...),
      "LanguageModel: an option that it does not know; see token_model.hpp");
  static_assert(check_leaves<CheckNoMemory, StackType>);
  using Batch = TokenBatch;
  using Capacity = Batch::Capacity;
  using Body = TokenStack<VocabularyType, LengthType, StackType, Options...>;
  using Output = TokenOutput<Body, Options...>;
  using Stack = StackType;
  static constexpr int vocabulary = Body::vocabulary, context = Body::context, width = Body::width;
  static constexpr bool tied = Output::tied, scaled_logits = Output::scaled;

  template <class T>
  struct Params {
    typename Body::template Params<T> body;
    typename Output::template Params<T> output;

    constexpr void each(auto& visitor) {
      body.each(visitor);
      visitor.nested("output", output);
    }
    constexpr Matrix<T> output_matrix() const { return output.matrix(body); }
  };

  template <class P>
  struct Saved {
    typename Body::template Saved<P> body;
    Rows<typename P::Activation, width> hidden;  // the body's output, or that scaled

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      Saved saved{};
      saved.body = Body::template Saved<P>::take(arena, capacity);
      saved.hidden = saved.body.output;
      if constexpr (scaled_logits) saved.hidden = arena.rows<typename P::Activation, width>(capacity.rows);
      return saved;
    }
    constexpr Rows<const typename P::Activation, width> stack_output() const { return body.output; }
  };

  static constexpr std::int64_t parameter_count = fathom::parameter_count<TokenModel>();

  /// Errors: `ShapeError` of `check_capacity` and `check_batch`.
  static constexpr void check_capacity(const Capacity& capacity, const char* owner) {
    fathom::check_capacity(capacity, owner, context);
  }
  static void check(const Batch& batch, const Capacity& capacity) { check_batch(batch, capacity, vocabulary); }

  static constexpr void describe(auto&& fact) {
    fact("vocabulary", vocabulary);
    fact("context", context);
    fact("width", width);
    fact("depth", Stack::depth);
    Body::describe_positions(fact);
    fact("embedding_scale", Body::EmbeddingRule::scale(width));
    fact("embedding_decays", decays(Body::EmbeddingDecay::token));
    Output::describe(fact);
    fact("stack", std::type_identity<Stack>{});
  }

  /// Writes saved.hidden (N, width), the input of the output layer, for the tokens of `batch`.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                const Batch& batch, Saved<P>& saved) {
    const auto phase = worker.phase("forward");
    const auto frame = worker.frame();
    const int rows = worker.packing().rows();
    Body::forward(worker, p.body, flow, batch.tokens, saved.body);
    Output::forward(worker, p.output, resized(saved.body.output, rows), resized(saved.hidden, rows));
  }

  /// Logits (n, vocabulary) of rows of saved.hidden, overwritten. `hidden` and `logits` are rows of the worker's
  /// packing.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void logits(W& worker, const Params<const typename P::Weight>& p,
                               Rows<const typename P::Activation, width> hidden,
                               Rows<typename P::Activation, vocabulary> logits) {
    Output::logits(worker, p.output, p.output_matrix(), hidden, logits);
  }

  /// The loss of `batch` after `forward`, without gradients, in Slots::loss.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void loss(W& worker, const Params<const typename P::Weight>& p, const Batch& batch,
                             const Saved<P>& saved) {
    const auto phase = worker.phase("forward");
    Output::loss(worker, p.output, p.output_matrix(), resized(saved.hidden, worker.packing().rows()), batch.targets);
  }

  /// The loss of `batch` after `forward`, in Slots::loss, and the gradients of target_weight · loss ADDED TO dp.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow, const Batch& batch,
                                 const Saved<P>& saved, const LossOptions& options, double target_weight) {
    const auto phase = worker.phase("backward");
    const int rows = worker.packing().rows();
    const auto frame = worker.frame();
    const auto dy = worker.template rows<typename P::Stream, width>(rows);
    const auto dx = worker.template rows<typename P::Stream, width>(rows);
    Output::backward(worker, p.output, dp.output, p.output_matrix(), dp.output_matrix(),
                     resized(saved.body.output, rows), resized(saved.hidden, rows), batch.targets, options,
                     target_weight, dy, dx);
    Body::backward(worker, p.body, dp.body, flow, batch.tokens, saved.body, dy, dx);
  }

  /// Floating-point operations of forward and backward for one token in a full context, recomputation included.
  static constexpr double flops_per_token(int length) {
    return training_cost<TokenModel, OpsOnly<Single>>({length, 1, length}).flops / length;
  }
};

}  // namespace fathom::inline FATHOM_ABI
