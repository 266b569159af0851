// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/generate/log_sum_exp.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/text/packed_pairs.hpp>
#include <span>
#include <tuple>
#include <vector>

#include "generate/models.hpp"

/// Small translators of every kind that decoding has to do with, and their logits without a cache.
namespace fathom_test {

inline constexpr int pair_depth = 2, source_context = 40, target_context = 24, source_words = 11, target_words = 13;

template <class EncoderBlockType, class DecoderBlockType, class... Options>
using SmallPairModel =
    Translator<Encoder<Vocabulary<source_words>, ContextLength<source_context>, Repeat<pair_depth, EncoderBlockType>>,
               Decoder<Vocabulary<target_words>, ContextLength<target_context>, Repeat<pair_depth, DecoderBlockType>>,
               Options...>;

template <class Policy, class NormLayer, class... Options>
using SmallEncoder =
    Sequence<Residual<Policy, Attention<12, 3, Full, Options...>, NormLayer>, Residual<Policy, FeedForward<12, 20>>>;
/// `First` is what reads the rows before.
template <class Policy, class NormLayer, class First, class... Options>
using SmallDecoder = Sequence<Residual<Policy, First, NormLayer>,
                              Residual<Policy, CrossAttention<24, 4, 12, Options...>, NormLayer>,
                              Residual<Policy, FeedForward<24, 40>>>;

inline constexpr auto small_pair_constants = deepnorm::encoder_decoder(pair_depth, pair_depth);
using DeepPairs =
    SmallPairModel<SmallEncoder<DeepNorm<small_pair_constants.encoder.alpha>, LayerNorm<12>>,
                   SmallDecoder<DeepNorm<small_pair_constants.decoder.alpha>, LayerNorm<24>, Attention<24, 4>>,
                   TiedOutput>;
using RotatedPairs =
    SmallPairModel<SmallEncoder<PreNorm, RmsNorm<12>, Rotary<>, KeyValueHeads<1>>,
                   SmallDecoder<PreNorm, RmsNorm<24>, Attention<24, 4, Causal, Rotary<>, KeyValueHeads<2>>,
                                KeyValueHeads<2>, NoBias>,
                   NoPositions>;
using RelativePairs = SmallPairModel<
    SmallEncoder<PreNorm, RmsNorm<12>, RelativePositions<8, 20>, NoBias>,
    SmallDecoder<PreNorm, RmsNorm<24>, Attention<24, 4, Causal, RelativePositions<8, 20>, NoBias>, NoBias>,
    NoPositions>;
using ConvolvedPairs = SmallPairModel<SmallEncoder<PreNorm, LayerNorm<12>>,
                                      SmallDecoder<PreNorm, LayerNorm<24>, Convolution<24>>, SinusoidalPositions>;
#ifdef FATHOM_TEST_FAR  // the convolution's arithmetic is its own
using SmallPairModels = std::tuple<DeepPairs, RotatedPairs, RelativePairs>;
#else
using SmallPairModels = std::tuple<DeepPairs, RotatedPairs, RelativePairs, ConvolvedPairs>;
#endif

/// What one pass without a cache gives: the encoder's output (tokens of the source, its width), and the logits (tokens
/// of the target, vocabulary) of what follows each token of the target.
template <class T>
struct UncachedPass {
  std::vector<T> memory, logits;
};
template <class Model, class B>
UncachedPass<typename B::Precision::Activation> uncached_pass(const Weights<Model, B>& weights,
                                                              std::span<const int> source,
                                                              std::span<const int> target) {
  using P = typename B::Precision;
  using T = typename P::Activation;
  const int count = int(target.size());
  const PairCapacity capacity({int(source.size()), 1, int(source.size())}, {count, 1, count});
  text::PackedPairs pair(capacity);
  pair.append<int>(source, target, 0);
  pair.pack();
  const PairBatch batch = pair;
  const PassCost cost = training_cost<Model, B>(capacity);
  Arena counted;
  Model::template Saved<P>::take(counted, capacity);
  typename B::template Buffer<std::byte> activations(counted.peak());
  typename B::template Buffer<T> logits(std::int64_t(count) * Model::Target::vocabulary);
  Arena arena = arena_of(activations);
  auto saved = Model::template Saved<P>::take(arena, capacity);
  Context<B> context_of_pass(B::one_lane());
  context_of_pass.reserve(cost.size);
  context_of_pass.run(batch.target.packing, Pass{}, [&](auto& worker) {
    auto of_lane = saved;
    Model::forward(worker, weights.params(), Flow<P>{}, batch, of_lane);
    Model::logits(worker, weights.params(), resized(of_lane.hidden, count), {logits.data(), count});
  });
  const Rows<T, Model::Source::width> output = saved.source.output;
  std::vector<T> memory(source.size() * std::size_t(Model::Source::width));
  activations.download(reinterpret_cast<const std::byte*>(output.data) - activations.data(),
                       std::as_writable_bytes(std::span(memory)));
  return {memory, values_of(logits)};
}

template <class Model, class B>
std::vector<typename B::Precision::Activation> uncached_logits(const Weights<Model, B>& weights,
                                                               std::span<const int> source,
                                                               std::span<const int> target) {
  return uncached_pass(weights, source, target).logits;
}

}  // namespace fathom_test
