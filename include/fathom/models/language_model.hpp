// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/models/deepnorm_constants.hpp>
#include <fathom/models/depth_check.hpp>
#include <fathom/models/token_model.hpp>

namespace fathom::inline FATHOM_ABI {

/// A row of `L` sees no row behind it; the template argument is the message.
template <class L>
struct CheckCausal {
  static_assert(L::sees != Sees::all,
                "fathom: a row of this layer sees rows behind it, so a LanguageModel sees the token that it is to "
                "predict: use Causal attention, or MaskedLanguageModel");
  static constexpr bool value = L::sees != Sees::all;
};

/// Rows of `Stack` see both sides; the template argument is the message.
template <class Stack>
struct CheckBothSides {
  static_assert(
      Stack::sees == Sees::all,
      "fathom: no row of this stack sees rows behind it, but a MaskedLanguageModel predicts hidden tokens from "
      "both sides: use Full attention, or LanguageModel");
  static constexpr bool value = Stack::sees == Sees::all;
};

/// Decoder-only language model: every row predicts the next token from the tokens before it.
///
///   LanguageModel<Vocabulary<256>, ContextLength<128>, Repeat<depth, Block>, TiedOutput>
///
/// Does not compile when a row of the stack sees rows behind it, or a DeepNorm alpha in the stack belongs to another
/// depth. Options: see `TokenModel`.
template <class VocabularyType, class LengthType, class Stack, class... Options>
struct LanguageModel : TokenModel<VocabularyType, LengthType, Stack, Options...> {
  static_assert(check_leaves<CheckCausal, Stack> && Stack::sees != Sees::all);
  static_assert(CheckStack<Stack>::value);
  static_assert(depth_fits<Stack::depth, Stack>());
  static constexpr const char* name = "LanguageModel";
};

/// Encoder-only masked language model: rows whose token was hidden predict it from both sides. The same model; its
/// blocks attend with `Full`, and its batches have targets at hidden tokens alone. Does not compile when no row of the
/// stack sees rows behind it.
template <class VocabularyType, class LengthType, class Stack, class... Options>
struct MaskedLanguageModel : TokenModel<VocabularyType, LengthType, Stack, Options...> {
  static_assert(CheckBothSides<Stack>::value);
  static_assert(CheckStack<Stack>::value);
  static_assert(depth_fits<Stack::depth, Stack>());
  static constexpr const char* name = "MaskedLanguageModel";
};

/// The paper's stacks in one line: blocks of attention and feed-forward sublayers under DeepNorm with the constants of
/// their depth.   Source: arXiv:2203.00555, figure 2.
namespace deepnet {

template <int Depth, int Width, int Heads, class Mask, int Hidden, class Activation>
using Block = Sequence<Residual<DeepNorm<deepnorm::encoder_only(Depth).alpha>, Attention<Width, Heads, Mask>>,
                       Residual<DeepNorm<deepnorm::encoder_only(Depth).alpha>, FeedForward<Width, Hidden, Activation>>>;

template <int Depth, int Width, int Heads, int Hidden = 4 * Width, class Activation = Gelu>
using DecoderOnly = Repeat<Depth, Block<Depth, Width, Heads, Causal, Hidden, Activation>>;

template <int Depth, int Width, int Heads, int Hidden = 4 * Width, class Activation = Gelu>
using EncoderOnly = Repeat<Depth, Block<Depth, Width, Heads, Full, Hidden, Activation>>;

}  // namespace deepnet
}  // namespace fathom::inline FATHOM_ABI
