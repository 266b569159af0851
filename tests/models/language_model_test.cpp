// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/testing/compare.hpp>
#include <string>
#include <string_view>
#include <tuple>

#include "models/model_run.hpp"
#include "support/convolution.hpp"
#include "support/near.hpp"
#include "support/reference.hpp"

namespace language_model_test {

using namespace fathom_test;

// The model of tests/reference/language_model_*.safetensors, and variants of it with every option.
constexpr int depth = 3, width = 16, heads = 2, context = 12, vocabulary = 37;
constexpr double alpha = deepnorm::decoder_only(depth).alpha;

template <class Policy, class Mask = Causal, class... Options>
using Blocks = Repeat<depth, Sequence<Residual<Policy, Attention<width, heads, Mask, Options...>>,
                                      Residual<Policy, FeedForward<width, 32>>>>;
template <class Stack, class... Options>
using Decoder = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, Stack, Options...>;

using DeepNormModel = Decoder<Blocks<DeepNorm<alpha>>, PlainEmbedding>;
using TiedDeepNormModel = Decoder<Blocks<DeepNorm<alpha>>, PlainEmbedding, TiedOutput>;
using PreNormModel = Decoder<Blocks<PreNorm>, PlainEmbedding, TiedOutput>;
using Models = std::tuple<
    DeepNormModel, PreNormModel, Decoder<deepnet::DecoderOnly<depth, width, heads>>,
    Decoder<Blocks<DeepNorm<alpha>>, TiedOutput, SinusoidalPositions>,
    Decoder<Blocks<PreNorm, Causal, Rotary<>, KeyValueHeads<1>>, NoPositions>,
    Decoder<Blocks<PreNorm>, ScaledLogits, DecayedEmbedding, BiasedOutput>,
#ifndef FATHOM_TEST_FAR  // its arithmetic is its own
    Decoder<Repeat<depth, Sequence<Residual<PreNorm, Convolution<width>>, Residual<PreNorm, FeedForward<width, 32>>>>>,
#endif
    MaskedLanguageModel<Vocabulary<vocabulary>, ContextLength<context>, deepnet::EncoderOnly<depth, width, heads>>>;

const std::vector<int> lengths{12, 7, 1};
constexpr DropoutRates some_dropout{.embedding = 0.1, .attention = 0.25, .activation = 0.4, .residual = 0.3};

template <class Model>
void agrees_with(const Reference& reference, int threads) {
  ModelRun<Model, Cpu<Double>> run(reference.lengths("offsets"), {.threads = threads});
  REQUIRE(reference.count("parameter.") == int(run.table.size()));
  for (const ParameterInfo& info : run.table)
    write_tensor(run.weights.flat(), info, reference.values("parameter." + info.name));
  run.tokens = reference.integers("input.tokens"), run.targets = reference.integers("input.targets");

  for (const double loss : {run.loss(), run.backward()})
    require_near(std::span(&loss, 1), reference.values("output.loss"), "loss");
  run.loss();
  require_near(run.hidden(), reference.values("output.hidden"), "hidden");
  require_near(run.logits(), reference.values("output.logits"), "logits");
  for (const ParameterInfo& info : run.table)
    require_near(run.gradient(info), reference.values("grad.parameter." + info.name), info.name);
}

TEST_CASE("language models and their gradients agree with PyTorch", "[models]") {
  for (const int threads : {1, 2}) {
    agrees_with<DeepNormModel>(Reference("language_model_deep_norm"), threads);
    agrees_with<TiedDeepNormModel>(Reference("language_model_deep_norm_tied"), threads);
    agrees_with<PreNormModel>(Reference("language_model_pre_norm"), threads);
  }
}

TEMPLATE_LIST_TEST_CASE("the gradients of whole models agree with central differences", "[models]", Models) {
  ModelRun<TestType, Ref<double>> run(lengths);
  run.randomize();
  run.options = {.smoothing = 0.1, .z_loss = 0.01};
  for (const DropoutRates& dropout : {DropoutRates{}, some_dropout}) {
    run.pass = {Key{5}, dropout};
    run.gradients.upload(0, std::vector(std::size_t(run.gradients.size()), 1.0));  // they are added to
    run.backward();
    for (const ParameterInfo& info : run.table) {
      const Permutation entries(Key{11}.child(info.name), std::uint64_t(info.size()));
      for (std::uint64_t i = 0; i < std::min<std::uint64_t>(std::uint64_t(info.size()), 4); ++i) {
        const std::size_t entry = entries(i);
        const double center = read_tensor(run.weights.flat(), info)[entry], step = 0x1p-12;
        const auto set = [&](double weight) {
          run.weights.flat().upload(info.offset + std::int64_t(entry), {&weight, 1});
        };
        const auto loss_at = [&](int steps) {
          set(center + steps * step);
          return run.loss();
        };
        const double expected = (8 * (loss_at(1) - loss_at(-1)) - (loss_at(2) - loss_at(-2))) / (12 * step);
        set(center);
        const double actual = run.gradient(info)[entry] - 1;
        INFO(info.name << '[' << entry << "]: " << actual << " by backward, " << expected << " by differences");
        REQUIRE(testing::relative_error(actual, expected, 1e-4) <= 1e-6);
      }
    }
  }
}

TEMPLATE_LIST_TEST_CASE(
    "whole models on all cores agree with the reference, to the same bits for any number of threads",
    "[models][threads]", Models) {
  const auto trained = [](auto& run) {
    run.randomize();
    run.pass = {Key{5}, some_dropout};
    run.backward();
  };
  ModelRun<TestType, Ref<double>> expected(lengths);
  ModelRun<TestType, Cpu<>> actual(lengths, {.threads = 2}), alone(lengths, {.threads = 1});
  trained(expected), trained(actual), trained(alone);
  REQUIRE(equal_bits(actual.gradients, alone.gradients));
  for (const ParameterInfo& info : expected.table) {
    double largest = 1e-2;
    const auto take = [&](const ParameterInfo& of) {
      for (const double value : expected.gradient(of)) largest = std::max(largest, std::abs(value));
    };
    take(info);
    // The true gradient of a key's bias is zero: it moves all scores of a query alike. What it sums up is no smaller
    // than what the key's weight does, and is rounded like that.
    constexpr std::string_view bias = "key.bias";
    if (info.name.ends_with(bias)) {
      const std::string weight = info.name.substr(0, info.name.size() - bias.size()) + "key.weight";
      const auto found = std::ranges::find(expected.table, weight, &ParameterInfo::name);
      REQUIRE(found != expected.table.end());
      take(*found);
    }
    const auto gradient = actual.gradient(info);
    const auto right = expected.gradient(info);
    const auto worst = testing::compare(std::span(gradient), std::span(right), 0.01 * largest);
    INFO(info.name << '[' << worst.column << "]: " << worst.actual << ", expected " << worst.expected);
    REQUIRE(worst.error <= 1e-3);
  }
}

// A model's parameters and operations are constant expressions.
constexpr int attention = 4 * (width * width + width), feed_forward = 2 * 32 * width + 32 + width;
constexpr int blocks = depth * (attention + feed_forward + 2 * 2 * width);
constexpr int embeddings = (vocabulary + context) * width;
static_assert(DeepNormModel::parameter_count == blocks + embeddings + vocabulary * width);
static_assert(PreNormModel::parameter_count == blocks + embeddings + 2 * width);

// Three products of two operations for each matrix element, and seven of head width for each pair that attention sees;
// what norms, residual adds and activations add is small.
constexpr double products = 6.0 * (depth * (4 * width * width + 2 * 32 * width) + vocabulary * width);
constexpr double pairs = 2.0 * 7 * depth * width * (context + 1) / 2;
constexpr double operations = DeepNormModel::flops_per_token(context);
static_assert(operations > products + pairs && operations < 1.5 * (products + pairs));

template <int Depth, double Alpha>
using Stack = Repeat<Depth, Sequence<Residual<DeepNorm<Alpha>, FeedForward<width, 32>>>>;
static_assert(depth_fits<depth, Stack<depth, alpha>>());
static_assert(policy_depth<DeepNorm<deepnorm::decoder_only(100).alpha>>(depth) == 100);
static_assert(policy_depth<Unchecked<DeepNorm<deepnorm::decoder_only(100).alpha>>>(depth) == depth);
static_assert(policy_depth<PreNorm>(depth) == depth);
static_assert(Decoder<Repeat<depth, Sequence<Residual<Unchecked<DeepNorm<2.5>>, FeedForward<width, 32>>>>>::width ==
              width);

}  // namespace language_model_test
