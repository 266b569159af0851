// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/models/translator.hpp>

/// An encoder and a decoder of DEPTH blocks each: forward and backward on the CPU. Compiled for two depths, see
/// compare_text.cmake.
using namespace fathom;
using Wide = Residual<PreNorm, FeedForward<64, 256>>;
using EncoderBlock = Sequence<Residual<PreNorm, Attention<64, 2, Full>>, Wide>;
using DecoderBlock = Sequence<Residual<PreNorm, Attention<64, 2>>, Residual<PreNorm, CrossAttention<64, 2>>, Wide>;
using Model = Translator<Encoder<Vocabulary<256>, ContextLength<64>, Repeat<DEPTH, EncoderBlock>>,
                         Decoder<Vocabulary<256>, ContextLength<64>, Repeat<DEPTH, DecoderBlock>>>;

void forward(Worker<Cpu<>>& worker, const Model::Params<const float>& p, const PairBatch& batch,
             Model::Saved<Single>& saved) {
  Model::forward(worker, p, Flow<Single>{}, batch, saved);
}

void backward(Worker<Cpu<>>& worker, const Model::Params<const float>& p, const Model::Params<float>& dp,
              const PairBatch& batch, const Model::Saved<Single>& saved) {
  Model::backward(worker, p, dp, Flow<Single>{}, batch, saved, LossOptions{}, 1);
}
