// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/weights.hpp>
#include <span>
#include <tuple>
#include <vector>

#include "support/convolution.hpp"

/// Small language models of every kind that generation has to do with, and their logits without a cache.
namespace fathom_test {
using namespace fathom;

inline constexpr int depth = 3, width = 24, context = 64;

template <class Policy, class NormLayer, class FeedForwardLayer, class... AttentionOptions>
using Stack = Repeat<depth, Sequence<Residual<Policy, Attention<width, 4, Causal, AttentionOptions...>, NormLayer>,
                                     Residual<Policy, FeedForwardLayer, NormLayer>>>;
template <class StackType, class... Options>
using SmallModel = LanguageModel<Vocabulary<37>, ContextLength<context>, StackType, Options...>;

using Deep = DeepNorm<deepnorm::decoder_only(depth).alpha>;
using Learned = SmallModel<Stack<Deep, LayerNorm<width>, FeedForward<width, 40>>>;
using Sinusoidal = SmallModel<Stack<PreNorm, LayerNorm<width>, FeedForward<width, 40, Relu>, KeyValueHeads<2>>,
                              SinusoidalPositions, TiedOutput>;
using Rotated = SmallModel<
    Stack<PreNorm, RmsNorm<width>, FeedForward<width, 40, SwiGlu, NoBias>, NoBias, Rotary<>, KeyValueHeads<1>>,
    NoPositions, TiedOutput, PlainEmbedding>;
using RotatedDeep = SmallModel<Stack<Deep, LayerNorm<width>, FeedForward<width, 40, Gelu>, Rotary<>, KeyValueHeads<2>>,
                               NoPositions, TiedOutput>;
using Convolved = SmallModel<
    Repeat<depth, Sequence<Residual<PreNorm, Convolution<width>>, Residual<PreNorm, FeedForward<width, 40>>>>>;
#ifdef FATHOM_TEST_FAR  // Convolved's arithmetic is its own
using SmallModels = std::tuple<Learned, Sinusoidal, Rotated, RotatedDeep>;
#else
using SmallModels = std::tuple<Learned, Sinusoidal, Rotated, RotatedDeep, Convolved>;
#endif

/// Initial weights with every element moved a little, so that biases and gains matter too.
template <class Model, class B>
Weights<Model, B> moved_weights(std::uint64_t seed = 5) {
  Weights<Model, B> weights(seed);
  for (const ParameterInfo& info : describe<Model>()) {
    const Philox random(Key{seed}.child("moved").child(info.name));
    std::uint64_t counter = 0;
    auto values = read_tensor(weights.flat(), info);
    for (auto& value : values) {
      using T = typename B::Precision::Weight;
      value += T(0.1 * normals(random(counter++))[0]);
    }
    write_tensor(weights.flat(), info, values);
  }
  return weights;
}

/// Logits (tokens, vocabulary) of what follows each token of one text, by one pass without a cache.
template <class Model, class B>
std::vector<typename B::Precision::Activation> uncached_logits(const Weights<Model, B>& weights,
                                                               std::span<const int> tokens) {
  using P = typename B::Precision;
  const int count = int(tokens.size());
  const PackedRows rows = PackedRows::uniform(1, count);
  const PassCost cost = training_cost<Model, B>(rows.capacity());
  Arena counted;
  Model::template Saved<P>::take(counted, rows.capacity());
  typename B::template Buffer<std::byte> activations(counted.peak());
  typename B::template Buffer<typename P::Activation> logits(std::ssize(tokens) * Model::vocabulary);
  Context<B> context_of_pass;
  context_of_pass.reserve(cost.size);
  context_of_pass.run(rows, Pass{}, [&](auto& worker) {
    Arena arena = arena_of(activations);
    auto saved = Model::template Saved<P>::take(arena, rows.capacity());
    Model::forward(worker, weights.params(), Flow<P>{}, TokenBatch{rows, tokens, {}}, saved);
    Model::logits(worker, weights.params(), resized(saved.hidden, count), {logits.data(), count});
  });
  return values_of(logits);
}

/// Any tokens.
inline std::vector<int> some_tokens(int count, int vocabulary, std::uint64_t seed) {
  std::vector<int> tokens(static_cast<std::size_t>(count));
  const Philox random(Key{seed});
  for (int i = 0; i < count; ++i) tokens[i] = int(below(vocabulary, low_bits(random(std::uint64_t(i)))));
  return tokens;
}

}  // namespace fathom_test
