// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/models/deepnorm_constants.hpp>
#include <fathom/models/translator.hpp>
#include <string_view>
#include <vector>

#include "support/reversed_pairs.hpp"

/// The "64-128-2 tiny Transformers" of DeepNet's figure 5 (width, feed-forward width, heads), of as many encoder as
/// decoder layers, for pairs of letters.
namespace fathom_test {

template <class Pairs, int Depth, class EncoderPolicy, class DecoderPolicy = EncoderPolicy>
struct NarrowTranslators {
  static constexpr int width = 64, heads = 2, hidden = 128;
  template <class Policy>
  using Wide = Residual<Policy, FeedForward<width, hidden, Relu>>;
  using EncoderBlock = Sequence<Residual<EncoderPolicy, Attention<width, heads, Full>>, Wide<EncoderPolicy>>;
  using DecoderBlock = Sequence<Residual<DecoderPolicy, Attention<width, heads>>,
                                Residual<DecoderPolicy, CrossAttention<width, heads>>, Wide<DecoderPolicy>>;
  using Model = Translator<Encoder<Vocabulary<Pairs::source_vocabulary>, ContextLength<Pairs::longest>,
                                   Repeat<Depth, EncoderBlock, RecomputeSqrt>>,
                           Decoder<Vocabulary<Pairs::target_vocabulary>, ContextLength<Pairs::longest + 1>,
                                   Repeat<Depth, DecoderBlock, RecomputeSqrt>>>;
};
template <int Depth, class Policy, class Pairs = ReversedPairs>
using NarrowTranslator = typename NarrowTranslators<Pairs, Depth, Policy>::Model;
template <int Depth, class Pairs = ReversedPairs>
using NarrowDeepNet =
    typename NarrowTranslators<Pairs, Depth, DeepNorm<deepnorm::encoder_decoder(Depth, Depth).encoder.alpha>,
                               DeepNorm<deepnorm::encoder_decoder(Depth, Depth).decoder.alpha>>::Model;

/// The norms of the gradients of the layers of a stack, whose names begin so: "decoder.", or nothing for a model of
/// one.
inline std::vector<double> layer_gradients(auto& trainer, const auto& batch, std::string_view stack) {
  trainer.differentiate(batch);
  const std::vector<double> squares = trainer.gradient_squares();
  trainer.clear_gradients();
  std::vector<double> norms;
  for (std::size_t t = 0; t < squares.size(); ++t) {
    const ParameterInfo& info = trainer.table()[t];
    if (info.block.depth == 0 || !info.name.starts_with(stack)) continue;
    norms.resize(std::size_t(info.block.depth));
    norms[std::size_t(info.block.index)] += squares[t];
  }
  for (double& norm : norms) norm = std::sqrt(norm);
  return norms;
}

}  // namespace fathom_test
