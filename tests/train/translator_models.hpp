// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/models/translator.hpp>

#include "support/reversed_pairs.hpp"

/// Small models of two streams for `ReversedPairs`; widths of encoder and decoder differ.
namespace fathom_test {

inline constexpr int source_width = 8, target_width = 16, encoder_depth = 2, decoder_depth = 3;

template <class Policy, int Width = source_width>
using EncoderBlock = Sequence<Residual<Policy, Attention<Width, 2, Full>>, Residual<Policy, FeedForward<Width, 16>>>;
template <class Policy, int SourceWidth = source_width>
using DecoderBlock =
    Sequence<Residual<Policy, Attention<target_width, 2, Causal>>,
             Residual<Policy, CrossAttention<target_width, 2, SourceWidth>>,
             Residual<Policy, FeedForward<target_width, 32>>>;

template <class EncoderStack, class DecoderStack, class... Options>
using PairModel = Translator<
    Encoder<Vocabulary<ReversedPairs::source_vocabulary>, ContextLength<ReversedPairs::longest>, EncoderStack>,
    Decoder<Vocabulary<ReversedPairs::target_vocabulary>, ContextLength<ReversedPairs::longest + 1>, DecoderStack>,
    Options...>;

inline constexpr auto pair_constants = deepnorm::encoder_decoder(encoder_depth, decoder_depth);
using EncoderPolicy = DeepNorm<pair_constants.encoder.alpha>;
using DecoderPolicy = DeepNorm<pair_constants.decoder.alpha>;

template <class Recomputation = StoreAll, class... Options>
using DeepNormPairs = PairModel<Repeat<encoder_depth, EncoderBlock<EncoderPolicy>, Recomputation>,
                                Repeat<decoder_depth, DecoderBlock<DecoderPolicy>, Recomputation>, Options...>;
template <class Recomputation = StoreAll, class... Options>
using PreNormPairs = PairModel<Repeat<encoder_depth, EncoderBlock<PreNorm>, Recomputation>,
                               Repeat<decoder_depth, DecoderBlock<PreNorm>, Recomputation>, Options...>;

/// One table of tokens for both sides, and with `TiedOutput` for the output too.
template <class... Options>
using OneTablePairs =
    Translator<Encoder<Vocabulary<ReversedPairs::target_vocabulary>, ContextLength<ReversedPairs::longest>,
                       Repeat<encoder_depth, EncoderBlock<EncoderPolicy, target_width>>>,
               Decoder<Vocabulary<ReversedPairs::target_vocabulary>, ContextLength<ReversedPairs::longest + 1>,
                       Repeat<decoder_depth, DecoderBlock<DecoderPolicy, target_width>>>,
               TiedSourceEmbedding, Options...>;

/// T5 1.1 in small: pre-norm by RMS, no biases, gated units, no positions but relative ones, an output of its own.
/// Source: Raffel et al. 2020, arXiv:1910.10683, and Shazeer 2020, arXiv:2002.05202.
template <class Sublayer>
using T5Residual = Residual<PreNorm, Sublayer, RmsNorm<target_width>>;
template <class Mask>
using T5Attention = T5Residual<Attention<target_width, 2, Mask, RelativePositions<8, 5>, NoBias>>;
using T5FeedForward = T5Residual<FeedForward<target_width, 24, GeGlu, NoBias>>;
template <class Recomputation = StoreAll>
using T5Pairs = Translator<
    Encoder<Vocabulary<ReversedPairs::target_vocabulary>, ContextLength<ReversedPairs::longest>,
            Repeat<encoder_depth, Sequence<T5Attention<Full>, T5FeedForward>, Recomputation>>,
    Decoder<Vocabulary<ReversedPairs::target_vocabulary>, ContextLength<ReversedPairs::longest + 1>,
            Repeat<decoder_depth,
                   Sequence<T5Attention<Causal>, T5Residual<CrossAttention<target_width, 2, target_width, NoBias>>,
                            T5FeedForward>,
                   Recomputation>>,
    TiedSourceEmbedding, NoPositions>;

inline constexpr PairCapacity pair_capacity{{40, 8, ReversedPairs::longest}, {48, 8, ReversedPairs::longest + 1}};

}  // namespace fathom_test
