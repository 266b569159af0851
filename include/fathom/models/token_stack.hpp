// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/core/root.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/norm.hpp>
#include <fathom/layers/sequence.hpp>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

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
  static constexpr Sinusoids sinusoids{};
};
struct SinusoidalPositions {
  using tag = PositionsTag;
  static constexpr const char* name = "sinusoidal";
  static constexpr Sinusoids sinusoids{Sinusoids::Order::neighbours};
};
/// Sines in the first half of the channels, cosines in the other. tensor2tensor counts positions from 0, OpenNMT-tf
/// from 1, fairseq from 2.
template <int First>
struct SinusoidalHalves {
  using tag = PositionsTag;
  static_assert(First >= 0, "SinusoidalHalves: the first position must not be negative");
  static constexpr const char* name = "sinusoidal halves";
  static constexpr Sinusoids sinusoids{Sinusoids::Order::halves, First};
};
struct NoPositions {
  using tag = PositionsTag;
  static constexpr const char* name = "none";
  static constexpr Sinusoids sinusoids{};
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

struct TokenTableTag {};
/// Whether the table of tokens is the stack's own (default), or that of another stack: whoever runs this one points
/// `Params::token` there before.
struct OwnTokenTable {
  using tag = TokenTableTag;
  static constexpr bool own = true;
};
struct OthersTokenTable {
  using tag = TokenTableTag;
  static constexpr bool own = false;
};

/// The gain that the policy of a stack's first residual gives the tensor of a role outside of the stack.
template <class Stack>
constexpr double outer_gain(Role role) {
  double gain = 1;
  bool first = true;
  if constexpr (requires { Stack::depth; })
    each_residual<Stack>([&](auto residual) {
      if (first) gain = decltype(residual)::type::ResidualPolicy::outer_gain(role, Stack::depth);
      first = false;
    });
  return gain;
}

/// The norm or other layer that a stack's policy wants behind it, or void.
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
template <class L>
  requires requires { typename L::Sublayers; }
struct FinalNormOf<L> : FinalNormOf<typename L::Sublayers> {};
template <class... Layers>
struct FinalNormOf<Sequence<Layers...>>
    : FinalNormOf<std::tuple_element_t<sizeof...(Layers) - 1, std::tuple<Layers...>>> {};

/// No norm, with a norm's interface.
template <int Width>
struct Identity {
  static constexpr const char* name = "identity";
  static constexpr int output_width = Width;
  template <class T>
  using Params = NoParams<T>;
  template <class P>
  using Saved = NothingSaved<P>;
};

/// `L` is no layer that reads a side input, which its model does not have; the template argument is the message.
template <class L>
struct CheckNoMemory {
  static_assert(memory_width_of<L> == 0,
                "fathom: this layer reads an encoder's output, and there is none here: use Attention, or put it into "
                "the Decoder of a Translator");
  static constexpr bool value = true;
};

/// Tokens in, one row of the stack's width a token out: embedding, a stack of blocks, and the norm that their policy
/// wants behind it. What models are made of, one for each stream that they read.
///
/// Options    positions: LearnedPositions, SinusoidalPositions, SinusoidalHalves<first>, NoPositions; embedding:
///            ScaledEmbedding, PlainEmbedding; decay of the embedding: UndecayedEmbedding, DecayedEmbedding; table of
///            tokens: OwnTokenTable, OthersTokenTable. Others are another part's.
template <class VocabularyType, class LengthType, class StackType, class... Options>
struct TokenStack {
  static_assert(CheckSizes<VocabularyType, LengthType>::value);
  static_assert(CheckLayer<0, StackType>::value);
  using Stack = StackType;
  static constexpr int vocabulary = VocabularyType::size, context = LengthType::value;
  static constexpr int width = Stack::input_width;
  static_assert(CheckChain<0, Stack::output_width, width>::value);

  using Positions = Option<LearnedPositions, Options...>;
  using EmbeddingRule = Option<ScaledEmbedding, Options...>;
  static constexpr bool learned_positions = std::is_same_v<Positions, LearnedPositions>;
  static_assert(Positions::sinusoids.order != Sinusoids::Order::halves || (width > 2 && width % 2 == 0),
                "SinusoidalHalves: the width must be even and above 2");
  using EmbeddingDecay = Option<UndecayedEmbedding, Options...>;
  static constexpr bool own_token_table = Option<OwnTokenTable, Options...>::own;
  using FinalNorm = typename FinalNormOf<Stack>::type;
  static constexpr bool has_final_norm = !std::is_void_v<FinalNorm>;
  using Final = std::conditional_t<has_final_norm, FinalNorm, Identity<width>>;
  static constexpr const char* final_name = std::string_view(Final::name) == "norm" ? "final_norm" : Final::name;

  template <class T>
  struct Params {
    WeightMatrix<T, vocabulary, width> token;
    std::conditional_t<learned_positions, WeightMatrix<T, context, width>, Matrix<T>> position;
    typename Stack::template Params<T> stack;
    typename Final::template Params<T> final_norm;

    constexpr void each(auto& visitor) {
      constexpr double deviation = EmbeddingRule::deviation(width) * outer_gain<Stack>(Role::embedding);
      constexpr double scale = EmbeddingRule::scale(width);
      if constexpr (own_token_table)
        visitor.tensor("embedding.token.weight", token, EmbeddingDecay::token, init::normal(deviation));
      if constexpr (learned_positions)  // as large as tokens are in the sum, so that neither drowns the other
        visitor.tensor("embedding.position.weight", position, EmbeddingDecay::position,
                       init::normal(scale * deviation));
      stack.each(visitor);
      if constexpr (has_final_norm) visitor.nested(final_name, final_norm);
    }
  };

  template <class P>
  struct Saved {
    StreamOut<P, width> embedded, streamed;
    Rows<typename P::Activation, width> output;  // as a branch reads it; streamed itself without a final norm
    typename Stack::template Saved<P> stack;
    typename Final::template Saved<P> final_norm;

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      Saved saved{};
      saved.embedded = take_stream<P, width>(arena, capacity.rows);
      saved.stack = Stack::template Saved<P>::take(arena, capacity);
      saved.streamed = take_stream<P, width>(arena, capacity.rows);
      saved.output = as_branch(saved.streamed);
      if constexpr (has_final_norm) {
        saved.output = arena.rows<typename P::Activation, width>(capacity.rows);
        saved.final_norm = Final::template Saved<P>::take(arena, capacity);
      }
      return saved;
    }
  };

  static constexpr void describe_positions(auto&& fact) {
    fact("positions", Positions::name);
    if constexpr (Positions::sinusoids.first > 0) fact("positions_from", Positions::sinusoids.first);
  }

  /// Writes saved.output (N, width) for the tokens, which are rows of the worker's packing.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                std::span<const int> tokens, Saved<P>& saved) {
    const int rows = worker.packing().rows();
    {
      const auto scope = worker.scope("embedding");
      worker(op::Embedding<P>{.tokens = tokens,
                              .table = p.token,
                              .positions = p.position,
                              .sinusoids = Positions::sinusoids,
                              .scale = EmbeddingRule::scale(width),
                              .dropout = worker.dropout("embedding", worker.dropout_rates().embedding),
                              .y = resized(saved.embedded, rows)});
    }
    Stack::forward(worker, p.stack, flow, resized(saved.embedded, rows), resized(saved.streamed, rows), saved.stack);
    if constexpr (has_final_norm) {
      const auto scope = worker.scope(final_name);
      Final::forward(worker, p.final_norm, flow, as_stream(resized(saved.streamed, rows)),
                     only_branch<P>(resized(saved.output, rows)), saved.final_norm);
    }
  }

  /// Gradients of dy (N, width), that of saved.output, ADDED TO dp and to the side inputs' in `flow`. Both buffers are
  /// overwritten.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 std::span<const int> tokens, const Saved<P>& saved, Rows<typename P::Stream, width> dy,
                                 Rows<typename P::Stream, width> dx) {
    const int rows = worker.packing().rows();
    if constexpr (has_final_norm) {
      const auto scope = worker.scope(final_name);
      Final::backward(worker, p.final_norm, dp.final_norm, flow, as_stream(resized(saved.streamed, rows)),
                      saved.final_norm, dy, dx, {});
      std::swap(dy, dx);
    }
    Stack::backward(worker, p.stack, dp.stack, flow, resized(saved.embedded, rows), saved.stack, dy, dx, {});
    const auto scope = worker.scope("embedding");
    worker(op::EmbeddingBackward<P>{.tokens = tokens,
                                    .scale = EmbeddingRule::scale(width),
                                    .dropout = worker.dropout("embedding", worker.dropout_rates().embedding),
                                    .dy = dx,
                                    .dtable = dp.token,
                                    .dpositions = dp.position});
  }
};

}  // namespace fathom::inline FATHOM_ABI
