// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/weights.hpp>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <string>
#include <type_traits>

namespace weights_test {

using namespace fathom;

constexpr int depth = 2, width = 64, hidden = 256, vocabulary = 200, context = 50;
using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, deepnet::DecoderOnly<depth, width, 2>>;

template <class Weights>
auto named(Weights& weights, const std::string& name) {
  const auto table = describe<Model>();
  const auto info = std::ranges::find(table, name, &ParameterInfo::name);
  REQUIRE(info != table.end());
  return read_tensor(weights.flat(), *info);
}

/// Standard deviation around `mean`, which the values' own mean has to be near.
double deviation(auto values, double mean = 0) {
  double sum = 0, squares = 0;
  for (const double value : values) sum += value - mean, squares += (value - mean) * (value - mean);
  const double count = double(values.size()), result = std::sqrt(squares / count);
  REQUIRE(std::abs(sum / count) <= 4 * result / std::sqrt(count));
  return result;
}

TEST_CASE("every matrix starts from Xavier's normal distribution, and DeepNorm's beta scales four kinds", "[models]") {
  const Weights<Model, Cpu<Double>> weights(1);
  const double beta = deepnorm::decoder_only(depth).beta;
  const auto xavier = [](double out, double in) { return std::sqrt(2 / (out + in)); };
  // A fused matrix of (3 width, width) would start smaller by the root of 2.
  const struct {
    const char* name;
    double expected;
  } cases[] = {{"attention.query.weight", xavier(width, width)},
               {"attention.key.weight", xavier(width, width)},
               {"attention.value.weight", beta * xavier(width, width)},
               {"attention.output.weight", beta * xavier(width, width)},
               {"feed_forward.input.weight", beta * xavier(hidden, width)},
               {"feed_forward.output.weight", beta * xavier(width, hidden)}};
  for (int block = 0; block < depth; ++block)
    for (const auto& [name, expected] : cases) {
      INFO(block << '.' << name);
      CHECK(std::abs(deviation(named(weights, "blocks." + std::to_string(block) + "." + name)) / expected - 1) < 0.05);
    }
  // Neither embeddings nor the output.
  CHECK(std::abs(deviation(named(weights, "embedding.token.weight")) * std::sqrt(width) - 1) < 0.05);
  CHECK(std::abs(deviation(named(weights, "output.weight")) * std::sqrt(width) - 1) < 0.05);
  // Positions are as large as tokens are in the sum, in which those are multiplied by sqrt(width).
  CHECK(std::abs(deviation(named(weights, "embedding.position.weight")) - 1) < 0.05);
  for (const double value : named(weights, "blocks.1.attention.norm.gain")) REQUIRE(value == 1);
  for (const double value : named(weights, "blocks.1.feed_forward.input.bias")) REQUIRE(value == 0);
}

TEST_CASE("a seed gives the same weights in every precision, and every tensor its own", "[models]") {
  const Weights<Model, Cpu<>> single(3);
  const Weights<Model, Ref<double>> wide(3), other(4);
  REQUIRE(std::ranges::equal(values_of(single.flat()), values_of(wide.flat()), [](float a, double b) { return a == float(b); }));
  REQUIRE(!std::ranges::equal(values_of(wide.flat()), values_of(other.flat())));
  REQUIRE(!std::ranges::equal(named(wide, "blocks.0.attention.query.weight"),
                              named(wide, "blocks.1.attention.query.weight")));
}

TEST_CASE("gaps between tensors are zero", "[models]") {
  const Weights<Model, Cpu<>> weights(1);
  std::vector<float> rest = values_of(weights.flat());
  for (const ParameterInfo& info : describe<Model>()) std::fill_n(rest.begin() + info.offset, info.size(), 0.f);
  REQUIRE(std::ranges::all_of(rest, [](float value) { return value == 0; }));
}

// Constant weights give constant views only.
using Shared = const Weights<Model, Cpu<>>;
static_assert(std::is_same_v<decltype(std::declval<Shared>().flat().data()), const float*>);
static_assert(std::is_same_v<decltype(std::declval<Shared>().params()), Model::Params<const float>>);
static_assert(std::is_same_v<decltype(std::declval<Weights<Model, Cpu<>>&>().params()), Model::Params<const float>>);

}  // namespace weights_test
