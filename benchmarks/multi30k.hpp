// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/models/translator.hpp>

namespace fathom::bench {

/// The usual model for Multi30k, which is fathom-translate's too: 4 + 4 layers, width 128, one table of tokens.
template <class EncoderPolicy, class DecoderPolicy>
struct Multi30k {
  static constexpr int layers = 4, width = 128, heads = 4, hidden = 256, vocabulary = 10'000, longest = 256;
  using Wide = FeedForward<width, hidden, Relu>;
  using EncoderBlock = Sequence<Residual<EncoderPolicy, Attention<width, heads, Full>>, Residual<EncoderPolicy, Wide>>;
  using DecoderBlock = Sequence<Residual<DecoderPolicy, Attention<width, heads, Causal>>,
                                Residual<DecoderPolicy, CrossAttention<width, heads>>, Residual<DecoderPolicy, Wide>>;
  using Model = Translator<Encoder<Vocabulary<vocabulary>, ContextLength<longest>, Repeat<layers, EncoderBlock>>,
                           Decoder<Vocabulary<vocabulary>, ContextLength<longest>, Repeat<layers, DecoderBlock>>,
                           SinusoidalPositions, ScaledEmbedding, TiedOutput, TiedSourceEmbedding>;
};
inline constexpr auto multi30k_constants = deepnorm::encoder_decoder(4, 4);
using Multi30kPreNorm = Multi30k<PreNorm, PreNorm>::Model;
using Multi30kDeepNorm =
    Multi30k<DeepNorm<multi30k_constants.encoder.alpha>, DeepNorm<multi30k_constants.decoder.alpha>>::Model;

}  // namespace fathom::bench
