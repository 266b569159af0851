// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/core/pair_batch.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/models/deepnorm_constants.hpp>
#include <fathom/models/depth_check.hpp>
#include <fathom/models/model.hpp>
#include <fathom/models/token_output.hpp>
#include <fathom/models/token_stack.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

/// One side of a `Translator`: what its tokens are, and the stack that reads them.
template <class VocabularyType, class LengthType, class StackType>
struct Encoder {
  template <class... Options>
  using Body = TokenStack<VocabularyType, LengthType, StackType, Options...>;
  using Stack = StackType;
};
/// The blocks of its stack have a `CrossAttention` each, which reads what the encoder puts out.
template <class VocabularyType, class LengthType, class StackType>
struct Decoder {
  template <class... Options>
  using Body = TokenStack<VocabularyType, LengthType, StackType, Options...>;
  using Stack = StackType;
};

struct SourceEmbeddingTag {};
/// The encoder's embedding is a table of its own (default), or the decoder's once more, for vocabularies that are one.
/// With `TiedOutput` beside it, all three matrices of tokens are one: Press and Wolf 2017 (arXiv:1608.05859), three-way
/// weight tying.
struct SeparateSourceEmbedding {
  using tag = SourceEmbeddingTag;
  static constexpr bool tied = false;
};
struct TiedSourceEmbedding {
  using tag = SourceEmbeddingTag;
  static constexpr bool tied = true;
};

/// Embeddings that are one table have one size; the template arguments are the message.
template <int SourceVocabulary, int TargetVocabulary, int SourceWidth, int TargetWidth>
struct CheckOneTable {
  static_assert(SourceVocabulary == TargetVocabulary && SourceWidth == TargetWidth,
                "fathom: TiedSourceEmbedding needs encoder and decoder of one vocabulary and one width "
                "(SourceVocabulary, TargetVocabulary, SourceWidth, TargetWidth)");
  static constexpr bool value = true;
};

/// Rows of an encoder see both sides; the template argument is the message.
template <class Stack>
struct CheckEncoder {
  static_assert(Stack::sees == Sees::all,
                "fathom: no row of this encoder sees rows behind it, but all of a source is known: use Full attention");
  static constexpr bool value = true;
};
/// A row of a decoder's layer sees no row behind it; the template argument is the message.
template <class L>
struct CheckDecoder {
  static_assert(L::sees != Sees::all,
                "fathom: a row of this decoder's layer sees rows behind it, so it sees the token that it is to "
                "predict: use Causal attention");
  static constexpr bool value = true;
};
/// The side input that a layer reads has the width of the encoder's output; the template arguments are the message.
template <int EncoderWidth, int LayerReads>
struct CheckMemoryWidth {
  static_assert(EncoderWidth == LayerReads || LayerReads == 0,
                "fathom: a layer of the decoder reads an encoder's output of another width (EncoderWidth, LayerReads): "
                "say CrossAttention<Width, Heads, EncoderWidth>");
  static constexpr bool value = true;
};

/// A model of two streams: an encoder reads the source; a decoder reads the target, sees the encoder's output through
/// cross-attention, and predicts the next token of the target in every row.
///
///   Translator<Encoder<Vocabulary<8000>, ContextLength<64>, Repeat<18, EncoderBlock>>,
///              Decoder<Vocabulary<8000>, ContextLength<64>, Repeat<18, DecoderBlock>>, TiedOutput>
///
/// Does not compile when a row of the decoder sees rows behind it, when no layer of it reads the encoder's output, or
/// when a DeepNorm alpha is not that of both depths.
///
/// Options    those of `TokenStack`, for both sides; those of `TokenOutput`, which is the decoder's; the encoder's
///            embedding: SeparateSourceEmbedding, TiedSourceEmbedding.
/// Gradients  that of the encoder's output is summed up over the layers that read it, in one buffer, while the decoder
///            goes backward; the encoder then starts from the sum.
template <class EncoderType, class DecoderType, class... Options>
struct Translator {
  static_assert((option_is_one_of<Options, PositionsTag, OutputTag, OutputBiasTag, EmbeddingTag, LogitsTag,
                                  EmbeddingDecayTag, SourceEmbeddingTag> &&
                 ...),
                "Translator: an option that it does not know; see translator.hpp");
  using Batch = PairBatch;
  using Capacity = Batch::Capacity;
  static constexpr bool tied_source = Option<SeparateSourceEmbedding, Options...>::tied;
  using Source =
      typename EncoderType::template Body<std::conditional_t<tied_source, OthersTokenTable, OwnTokenTable>, Options...>;
  using Target = typename DecoderType::template Body<Options...>;
  using Output = TokenOutput<Target, Options...>;

 private:
  template <class L>
  using CheckMemory = CheckMemoryWidth<Source::width, memory_width_of<L>>;
  template <class L>
  struct ReadsNoMemory {
    static constexpr bool value = memory_width_of<L> == 0;
  };
  static_assert(CheckStack<typename Source::Stack>::value && CheckStack<typename Target::Stack>::value);
  static_assert(std::conditional_t<tied_source,
                                   CheckOneTable<Source::vocabulary, Target::vocabulary, Source::width, Target::width>,
                                   std::true_type>::value);
  static_assert(CheckEncoder<typename Source::Stack>::value);
  static_assert(check_leaves<CheckDecoder, typename Target::Stack>);
  static_assert(check_leaves<CheckMemory, typename Target::Stack>);
  static_assert(check_leaves<CheckNoMemory, typename Source::Stack>);
  static_assert(!check_leaves<ReadsNoMemory, typename Target::Stack>,
                "fathom: no layer of this decoder reads the encoder's output: put a CrossAttention into its block");
  static_assert(depths_fit<typename Source::Stack, typename Target::Stack>());

 public:
  static constexpr const char* name = "Translator";

  template <class T>
  struct Params {
    typename Source::template Params<T> source;
    typename Target::template Params<T> target;
    typename Output::template Params<T> output;

    constexpr void each(auto& visitor) {
      visitor.nested("encoder", source);
      visitor.nested("decoder", target);
      visitor.nested("output", output);
    }
    constexpr Matrix<T> output_matrix() const { return output.matrix(target); }
    /// The encoder's, its table of tokens included.
    constexpr typename Source::template Params<T> encoder() const {
      auto params = source;
      if constexpr (tied_source) params.token = target.token;
      return params;
    }
  };

  template <class P>
  struct Saved {
    typename Source::template Saved<P> source;
    typename Target::template Saved<P> target;
    Rows<typename P::Activation, Target::width> hidden;  // the decoder's output, or that scaled

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      Saved saved{};
      saved.source = Source::template Saved<P>::take(arena, capacity.source);
      saved.target = Target::template Saved<P>::take(arena, capacity.target);
      saved.hidden = saved.target.output;
      if constexpr (Output::scaled)
        saved.hidden = arena.rows<typename P::Activation, Target::width>(capacity.target.rows);
      return saved;
    }
    constexpr Rows<const typename P::Activation, Target::width> stack_output() const { return target.output; }
  };

  static constexpr std::int64_t parameter_count = fathom::parameter_count<Translator>();

  /// Errors: `ShapeError` of `check_capacity` and `check_batch` for pairs.
  static constexpr void check_capacity(const Capacity& capacity, const char* owner) {
    fathom::check_capacity(capacity, owner, Source::context, Target::context);
  }
  static void check(const Batch& batch, const Capacity& capacity) {
    check_batch(batch, capacity, Source::vocabulary, Target::vocabulary);
  }

  static constexpr void describe(auto&& fact) {
    fact("source_vocabulary", Source::vocabulary);
    fact("source_context", Source::context);
    fact("target_vocabulary", Target::vocabulary);
    fact("target_context", Target::context);
    Target::describe_positions(fact);
    fact("source_embedding_scale", Source::EmbeddingRule::scale(Source::width));
    fact("target_embedding_scale", Target::EmbeddingRule::scale(Target::width));
    fact("embedding_decays", decays(Target::EmbeddingDecay::token));
    fact("source_embedding", tied_source ? "tied" : "separate");
    Output::describe(fact);
    fact("encoder", std::type_identity<typename Source::Stack>{});
    fact("decoder", std::type_identity<typename Target::Stack>{});
  }

  /// Writes saved.source.output (S, Source::width), what the decoder's layers read, for the source of `batch`.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void encode(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                               const Batch& batch, Saved<P>& saved) {
    const auto rows = worker.on(batch.source.packing);
    const auto scope = worker.scope("encoder");
    Source::forward(worker, p.encoder(), flow, batch.source.tokens, saved.source);
  }
  /// Writes saved.hidden (N, Target::width), the input of the output layer, for the target of `batch`, from what
  /// `encode` has written.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void decode(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                               const Batch& batch, Saved<P>& saved) {
    const int rows = worker.packing().rows();
    {
      const auto scope = worker.scope("decoder");
      Target::forward(worker, p.target, reading(flow, batch, saved), batch.target.tokens, saved.target);
    }
    Output::forward(worker, p.output, resized(saved.target.output, rows), resized(saved.hidden, rows));
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                const Batch& batch, Saved<P>& saved) {
    const auto phase = worker.phase("forward");
    const auto frame = worker.frame();
    encode(worker, p, flow, batch, saved);
    if (flow.profile != nullptr) flow.profile->scale = 1;  // the decoder's scales begin with its own input
    decode(worker, p, flow, batch, saved);
  }

  /// Logits (n, vocabulary) of rows of saved.hidden, overwritten. `hidden` and `logits` are rows of the worker's
  /// packing.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void logits(W& worker, const Params<const typename P::Weight>& p,
                               Rows<const typename P::Activation, Target::width> hidden,
                               Rows<typename P::Activation, Target::vocabulary> logits) {
    Output::logits(worker, p.output, p.output_matrix(), hidden, logits);
  }

  /// The loss of `batch` after `forward`, without gradients, in Slots::loss.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void loss(W& worker, const Params<const typename P::Weight>& p, const Batch& batch,
                             const Saved<P>& saved) {
    const auto phase = worker.phase("forward");
    Output::loss(worker, p.output, p.output_matrix(), resized(saved.hidden, worker.packing().rows()),
                 batch.target.targets);
  }

  /// The loss of `batch` after `forward`, in Slots::loss, and the gradients of target_weight · loss ADDED TO dp.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow, const Batch& batch,
                                 const Saved<P>& saved, const LossOptions& options, double target_weight) {
    const auto phase = worker.phase("backward");
    const auto frame = worker.frame();
    const int sources = batch.source.packing.rows();
    const auto d_memory = worker.template rows<typename P::Stream, Source::width>(sources);
    backward_of_target(worker, p, dp, flow, batch, saved, options, target_weight, d_memory);
    const auto rows = worker.on(batch.source.packing);
    const auto scope = worker.scope("encoder");
    const auto dx = worker.template rows<typename P::Stream, Source::width>(sources);
    Source::backward(worker, p.encoder(), dp.encoder(), flow, batch.source.tokens, saved.source, d_memory, dx);
  }

 private:
  /// The flow of the decoder: its side input is what the encoder has put out.
  template <class P>
  static constexpr Flow<P> reading(Flow<P> flow, const Batch& batch, const Saved<P>& saved) {
    flow.memory = resized(saved.source.output, batch.source.packing.rows());
    flow.memory_packing = &batch.source.packing;
    return flow;
  }

  /// Overwrites d_memory (S, Source::width) with the sum of the gradients that the decoder's layers have for it.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward_of_target(W& worker, const Params<const typename P::Weight>& p,
                                           const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                           const Batch& batch, const Saved<P>& saved, const LossOptions& options,
                                           double target_weight,
                                           Rows<typename P::Stream, Source::width> d_memory) {
    const auto frame = worker.frame();
    const int rows = worker.packing().rows();
    const auto dy = worker.template rows<typename P::Stream, Target::width>(rows);
    const auto dx = worker.template rows<typename P::Stream, Target::width>(rows);
    Output::backward(worker, p.output, dp.output, p.output_matrix(), dp.output_matrix(),
                     resized(saved.target.output, rows), resized(saved.hidden, rows), batch.target.targets, options,
                     target_weight, dy, dx);
    {
      const auto source = worker.on(batch.source.packing);
      worker(op::Zero<P>{.y = d_memory});
    }
    const auto scope = worker.scope("decoder");
    Flow<P> inner = reading(flow, batch, saved);
    inner.memory_gradient = d_memory;
    Target::backward(worker, p.target, dp.target, inner, batch.target.tokens, saved.target, dy, dx);
  }
};

/// Stacks of the paper's own model: an encoder of N layers and a decoder of M, under DeepNorm with the constants that
/// both depths give.   Source: arXiv:2203.00555, figure 2.
///
///   Translator<Encoder<Vocabulary<16'000>, ContextLength<256>, deepnet::EncoderStack<100, 100, 512, 8>>,
///              Decoder<Vocabulary<16'000>, ContextLength<256>, deepnet::DecoderStack<100, 100, 512, 8>>, TiedOutput>
namespace deepnet {

template <int N, int M>
using EncoderPolicy = DeepNorm<deepnorm::encoder_decoder(N, M).encoder.alpha>;
template <int N, int M>
using DecoderPolicy = DeepNorm<deepnorm::encoder_decoder(N, M).decoder.alpha>;

/// Options are those of `Repeat`.
template <int N, int M, int Width, int Heads, int Hidden = 4 * Width, class Activation = Relu, class... Options>
using EncoderStack = Repeat<N,
                            Sequence<Residual<EncoderPolicy<N, M>, Attention<Width, Heads, Full>>,
                                     Residual<EncoderPolicy<N, M>, FeedForward<Width, Hidden, Activation>>>,
                            Options...>;

template <int N, int M, int Width, int Heads, int Hidden = 4 * Width, class Activation = Relu, class... Options>
using DecoderStack = Repeat<M,
                            Sequence<Residual<DecoderPolicy<N, M>, Attention<Width, Heads, Causal>>,
                                     Residual<DecoderPolicy<N, M>, CrossAttention<Width, Heads>>,
                                     Residual<DecoderPolicy<N, M>, FeedForward<Width, Hidden, Activation>>>,
                            Options...>;

}  // namespace deepnet
}  // namespace fathom::inline FATHOM_ABI
