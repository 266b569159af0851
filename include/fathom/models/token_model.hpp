// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/core/root.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/norm.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/models/model.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

/// Number of different tokens.
template <int Size>
struct Vocabulary {
  static_assert(Size > 1, "Vocabulary: a model needs at least two tokens");
  static constexpr int size = Size;
};
/// Longest sequence in tokens.
template <int Length>
struct ContextLength {
  static_assert(Length > 0, "ContextLength: it must be positive");
  static constexpr int value = Length;
};

/// The sizes of a model come in their order; the template arguments are the message.
template <class First, class Second>
struct CheckSizes {
  static_assert(requires { First::size + Second::value; },
                "LanguageModel: its first two arguments are Vocabulary<size> and ContextLength<length>, in this order");
  static constexpr bool value = true;
};

struct PositionsTag {};
/// Where a token stands: a learned table added to the embedding (default), sines and cosines added to it, or nothing,
/// for attention that is `Rotary`.
struct LearnedPositions {
  using tag = PositionsTag;
  static constexpr const char* name = "learned";
};
struct SinusoidalPositions {
  using tag = PositionsTag;
  static constexpr const char* name = "sinusoidal";
};
struct NoPositions {
  using tag = PositionsTag;
  static constexpr const char* name = "none";
};

struct OutputTag {};
/// Output matrix of its own (default), or the embedding's once more.
struct SeparateOutput {
  using tag = OutputTag;
  static constexpr bool tied = false;
};
struct TiedOutput {
  using tag = OutputTag;
  static constexpr bool tied = true;
};

struct EmbeddingTag {};
/// The paper's toolkit: embeddings N(0, 1/D), multiplied by sqrt(D) on their way in (default).
struct ScaledEmbedding {
  using tag = EmbeddingTag;
  static constexpr double scale(int width) { return square_root(width); }
  static constexpr double deviation(int width) { return 1 / square_root(width); }
};
/// GPT-2: embeddings N(0, 0.02²), not multiplied.
struct PlainEmbedding {
  using tag = EmbeddingTag;
  static constexpr double scale(int) { return 1; }
  static constexpr double deviation(int) { return 0.02; }
};

struct LogitsTag {};
/// Logits as the output matrix gives them, or multiplied by one learned factor that starts at 1 / sqrt(width).
///
/// The default is ScaledLogits for a tied output behind a stack whose last residual has a post-norm, PlainLogits
/// elsewhere. DeepNorm starts near the identity, so such a stack gives LN(x), the embedding once more: with the same
/// matrix behind it, a token's own logit is sqrt(width) · |e| above the others, and each token predicts itself. The
/// factor has to grow to about 1 soon after. Adam moves a parameter by the learning rate whatever it is for, so what is
/// learned is the factor divided by sqrt(width).
struct PlainLogits {
  using tag = LogitsTag;
  static constexpr bool scaled = false;
};
struct ScaledLogits {
  using tag = LogitsTag;
  static constexpr bool scaled = true;
  static constexpr double constant(int width) { return square_root(width); }  ///< what the parameter is multiplied by
};

struct EmbeddingDecayTag {};
/// Whether weight decay spares the tables of tokens and learned positions (default), or shrinks them like the matrices
/// of layers, as nanoGPT does. A tied output is the table of tokens: it decays with that.
struct UndecayedEmbedding {
  using tag = EmbeddingDecayTag;
  static constexpr Role token = Role::embedding, position = Role::position;
};
struct DecayedEmbedding {
  using tag = EmbeddingDecayTag;
  static constexpr Role token = Role::decayed_embedding, position = Role::decayed_position;
};

/// Whether the last residual of a stack has a post-norm.
template <class Stack>
constexpr bool ends_in_post_norm() {
  bool post_norm = false;
  each_residual<Stack>([&](auto residual) { post_norm = decltype(residual)::type::ResidualPolicy::post_norm; });
  return post_norm;
}

/// The norm that a stack's policy wants behind it, or void.
template <class L>
struct FinalNormOf {
  using type = void;
};
template <class L>
requires requires { typename L::FinalNorm; }
struct FinalNormOf<L> {
  using type = typename L::FinalNorm;
};
template <class L>
requires requires { typename L::Block; }
struct FinalNormOf<L> : FinalNormOf<typename L::Block> {};
template <class... Layers>
struct FinalNormOf<Sequence<Layers...>>
    : FinalNormOf<std::tuple_element_t<sizeof...(Layers) - 1, std::tuple<Layers...>>> {};

/// No norm, with a norm's interface.
template <int Width>
struct Identity {
  static constexpr int output_width = Width;
  template <class T>
  using Params = NoParams<T>;
  template <class P>
  using Saved = NothingSaved<P>;
};

/// Embedding, a stack of blocks, and an output layer that predicts one token a row: what decoder-only language models
/// and encoder-only masked language models have in common.
///
/// Options    positions: LearnedPositions, SinusoidalPositions, NoPositions; output: SeparateOutput, TiedOutput;
///            embedding: ScaledEmbedding, PlainEmbedding; logits: PlainLogits, ScaledLogits; decay of the embedding:
///            UndecayedEmbedding, DecayedEmbedding.
///
/// ScaledLogits  s · h Eᵀ is computed as (s · h) Eᵀ, so ds = Σ d(s · h) ⊙ h; s = sqrt(width) · output.scale. A program
///               that knows no such factor gets the same logits from the last norm's gain and bias, multiplied by s.
template <class VocabularyType, class LengthType, class StackType, class... Options>
struct TokenModel {
  static_assert((option_is_one_of<Options, PositionsTag, OutputTag, EmbeddingTag, LogitsTag, EmbeddingDecayTag> && ...),
                "LanguageModel: an option that it does not know; see token_model.hpp");
  static_assert(CheckSizes<VocabularyType, LengthType>::value);
  static_assert(CheckLayer<0, StackType>::value);
  using Batch = TokenBatch;
  using Capacity = Batch::Capacity;
  using Stack = StackType;
  static constexpr int vocabulary = VocabularyType::size, context = LengthType::value;
  static constexpr int width = Stack::input_width;
  static_assert(CheckChain<0, Stack::output_width, width>::value);

  using Positions = Option<LearnedPositions, Options...>;
  using EmbeddingRule = Option<ScaledEmbedding, Options...>;
  static constexpr bool learned_positions = std::is_same_v<Positions, LearnedPositions>;
  using EmbeddingDecay = Option<UndecayedEmbedding, Options...>;
  static constexpr bool tied = Option<SeparateOutput, Options...>::tied;
  using DefaultLogits = std::conditional_t<tied && ends_in_post_norm<Stack>(), ScaledLogits, PlainLogits>;
  static constexpr bool scaled_logits = Option<DefaultLogits, Options...>::scaled;
  using FinalNorm = typename FinalNormOf<Stack>::type;
  static constexpr bool has_final_norm = !std::is_void_v<FinalNorm>;
  using Final = std::conditional_t<has_final_norm, FinalNorm, Identity<width>>;

  template <class T>
  struct Params {
    WeightMatrix<T, vocabulary, width> token;
    std::conditional_t<learned_positions, WeightMatrix<T, context, width>, Matrix<T>> position;
    typename Stack::template Params<T> stack;
    typename Final::template Params<T> final_norm;
    std::conditional_t<tied, Matrix<T>, WeightMatrix<T, vocabulary, width>> separate_output;
    Vector<T, 1> logit_scale;  // of ScaledLogits

    constexpr void each(auto& visitor) {
      constexpr double deviation = EmbeddingRule::deviation(width), scale = EmbeddingRule::scale(width);
      visitor.tensor("embedding.token.weight", token, EmbeddingDecay::token, init::normal(deviation));
      if constexpr (learned_positions)  // as large as tokens are in the sum, so that neither drowns the other
        visitor.tensor("embedding.position.weight", position, EmbeddingDecay::position,
                       init::normal(scale * deviation));
      stack.each(visitor);
      if constexpr (has_final_norm) visitor.nested("final_norm", final_norm);
      if constexpr (!tied)
        visitor.tensor("output.weight", separate_output, Role::logits, init::normal(1 / square_root(width)));
      if constexpr (scaled_logits)
        visitor.tensor("output.scale", logit_scale, Role::logit_scale, init::constant(1.0 / width));
    }
    constexpr Matrix<T> output() const {
      if constexpr (tied)
        return token;
      else
        return separate_output;
    }
  };

  template <class P>
  struct Saved {
    Rows<typename P::Stream, width> embedded, streamed, normed, hidden;  // one buffer where nothing is between two
    typename Stack::template Saved<P> stack;
    typename Final::template Saved<P> final_norm;

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      Saved saved{};
      saved.embedded = arena.rows<typename P::Stream, width>(capacity.rows);
      saved.stack = Stack::template Saved<P>::take(arena, capacity);
      saved.streamed = arena.rows<typename P::Stream, width>(capacity.rows);
      saved.normed = saved.streamed;
      if constexpr (has_final_norm) {
        saved.normed = arena.rows<typename P::Stream, width>(capacity.rows);
        saved.final_norm = Final::template Saved<P>::take(arena, capacity);
      }
      saved.hidden = saved.normed;
      if constexpr (scaled_logits) saved.hidden = arena.rows<typename P::Stream, width>(capacity.rows);
      return saved;
    }
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
    fact("positions", Positions::name);
    fact("embedding_scale", EmbeddingRule::scale(width));
    fact("embedding_decays", decays(EmbeddingDecay::token));
    fact("output", tied ? "tied" : "separate");
    fact("logits", scaled_logits ? "scaled" : "plain");
    fact("stack", std::type_identity<Stack>{});
  }

  /// Writes saved.hidden (N, width), the input of the output layer, for the tokens of `batch`.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                const Batch& batch, Saved<P>& saved) {
    const auto phase = worker.phase("forward");
    const auto frame = worker.frame();
    const int rows = worker.packing().rows();
    {
      const auto scope = worker.scope("embedding");
      worker(op::Embedding<P>{.tokens = batch.tokens,
                              .table = p.token,
                              .positions = p.position,
                              .sinusoidal = std::is_same_v<Positions, SinusoidalPositions>,
                              .scale = EmbeddingRule::scale(width),
                              .dropout = worker.dropout("embedding", worker.dropout_rates().embedding),
                              .y = resized(saved.embedded, rows)});
    }
    Stack::forward(worker, p.stack, flow, resized(saved.embedded, rows), resized(saved.streamed, rows), saved.stack);
    if constexpr (has_final_norm) {
      const auto scope = worker.scope("final_norm");
      Final::forward(worker, p.final_norm, flow, resized(saved.streamed, rows), resized(saved.normed, rows),
                     saved.final_norm);
    }
    if constexpr (scaled_logits) {
      const auto scope = worker.scope("output");
      worker(op::ResidualAdd<P>{.x = {},
                         .f = resized(saved.normed, rows),
                         .a = {},
                         .b = {ScaledLogits::constant(width), p.logit_scale},
                         .dropout = {},
                         .y = resized(saved.hidden, rows)});
    }
  }

  /// Logits (n, vocabulary) of rows of saved.hidden, overwritten. `hidden` and `logits` are rows of the worker's
  /// packing.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void logits(W& worker, const Params<const typename P::Weight>& p,
                               Rows<const typename P::Stream, width> hidden,
                               Rows<typename P::Activation, vocabulary> logits) {
    const auto scope = worker.scope("output");
    worker(op::Linear<P>{.x = hidden, .weight = p.output(), .bias = {}, .y = logits});
  }

  /// The loss of `batch` after `forward`, without gradients, in Slots::loss.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void loss(W& worker, const Params<const typename P::Weight>& p, const Batch& batch,
                             const Saved<P>& saved) {
    const auto phase = worker.phase("forward");
    const auto scope = worker.scope("output");
    worker(op::LinearCrossEntropy<P>{.x = resized(saved.hidden, worker.packing().rows()),
                                     .weight = p.output(),
                                     .bias = {},
                                     .targets = batch.targets,
                                     .options = {},
                                     .target_weight = 0,
                                     .sums = worker.slot(&Slots::loss),
                                     .dx = {},
                                     .dweight = {},
                                     .dbias = {}});
  }

  /// The loss of `batch` after `forward`, in Slots::loss, and the gradients of target_weight · loss ADDED TO dp.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow, const Batch& batch,
                                 const Saved<P>& saved, const LossOptions& options, double target_weight) {
    const auto phase = worker.phase("backward");
    const int rows = worker.packing().rows();
    const auto frame = worker.frame();
    Rows<typename P::Stream, width> dy = worker.template rows<typename P::Stream, width>(rows);
    Rows<typename P::Stream, width> dx = worker.template rows<typename P::Stream, width>(rows);
    {
      const auto scope = worker.scope("output");
      worker(op::LinearCrossEntropy<P>{.x = resized(saved.hidden, rows),
                                       .weight = p.output(),
                                       .bias = {},
                                       .targets = batch.targets,
                                       .options = options,
                                       .target_weight = target_weight,
                                       .sums = worker.slot(&Slots::loss),
                                       .dx = dy,
                                       .dweight = dp.output(),
                                       .dbias = {}});
      if constexpr (scaled_logits) {
        worker(op::ResidualAddBackward<P>{.x = {},
                                   .f = resized(saved.normed, rows),
                                   .a = {},
                                   .b = {ScaledLogits::constant(width), p.logit_scale},
                                   .dropout = {},
                                   .dy = dy,
                                   .dx = {},
                                   .df = dx,
                                   .da = {},
                                   .db = dp.logit_scale});
        std::swap(dy, dx);
      }
    }
    if constexpr (has_final_norm) {
      const auto scope = worker.scope("final_norm");
      Final::backward(worker, p.final_norm, dp.final_norm, flow, resized(saved.streamed, rows), saved.final_norm, dy,
                      dx, {});
      std::swap(dy, dx);
    }
    Stack::backward(worker, p.stack, dp.stack, flow, resized(saved.embedded, rows), saved.stack, dy, dx, {});
    const auto scope = worker.scope("embedding");
    worker(op::EmbeddingBackward<P>{.tokens = batch.tokens,
                                    .scale = EmbeddingRule::scale(width),
                                    .dropout = worker.dropout("embedding", worker.dropout_rates().embedding),
                                    .dy = dx,
                                    .dtable = dp.token,
                                    .dpositions = dp.position});
  }

  /// Floating-point operations of forward and backward for one token in a full context, recomputation included.
  static constexpr double flops_per_token(int length) {
    return training_cost<TokenModel, OpsOnly<Single>>({length, 1, length}).flops / length;
  }
};

}  // namespace fathom::inline FATHOM_ABI
