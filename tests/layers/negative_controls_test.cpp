// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/models/deepnorm_constants.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/testing/layer_run.hpp>
#include <numeric>
#include <span>
#include <string>

#include "layers/deviations.hpp"
#include "support/policy_lists.hpp"
#include "support/reference.hpp"

namespace negative_controls_test {

/// Mistakes that implementations of DeepNorm were made with: each is one that the checks of this folder find.
using namespace fathom_test;

constexpr auto decoder = deepnorm::encoder_decoder(stack_depth, stack_depth).decoder;
constexpr auto alone = deepnorm::decoder_only(stack_depth);

/// How far the output of a decoder is from that of PyTorch's DeepNorm.
template <class Policy>
double difference_from_reference() {
  using Stack = Repeat<stack_depth, PolicyDecoderBlock<Policy, 4>>;
  const Reference reference("policy_DeepNorm");
  testing::LayerRun<Stack> run({.lengths = reference.lengths("offsets"),
                                .memory_lengths = reference.lengths("memory_offsets"),
                                .memory_width = reference.columns("input.memory")});
  std::ranges::copy(reference.values("input.x"), run.x.data());
  std::ranges::copy(reference.values("input.memory"), run.memory.data());
  for (const ParameterInfo& info : describe<Stack>())
    std::ranges::copy(reference.values("parameter." + info.name), run.parameters.data() + info.offset);
  run.forward();
  const auto expected = reference.values("output.y");
  return testing::compare(std::span(run.y.data(), std::size_t(run.y.size())), std::span(expected), 1e-2).error;
}

struct AlphaOnBranch : DeepNorm<decoder.alpha> {
  static constexpr double skip(BlockIndex) { return 1; }
  static constexpr double branch(BlockIndex) { return decoder.alpha; }
};

TEST_CASE("alpha on the branch is found by the reference vectors", "[layers]") {
  REQUIRE(difference_from_reference<DeepNorm<decoder.alpha>>() < 1e-11);
  REQUIRE(difference_from_reference<AlphaOnBranch>() > 1e-2);
}

template <class Policy>
double deviation_from_paper() {
  using Stack = Repeat<stack_depth, PolicyBlock<Policy, 64, Causal>>;
  return worst_deviation(describe<Stack>(), parameter_extent<Stack>().total(),
                         scaled_by(std::pow(8.0 * stack_depth, -0.25)));
}

struct BetaMissingOnValue : DeepNorm<alone.alpha> {
  static constexpr double gain(Role role, BlockIndex block) {
    return role == Role::value ? 1 : DeepNorm<alone.alpha>::gain(role, block);
  }
};
struct BetaInverted : DeepNorm<alone.alpha> {
  static constexpr double gain(Role role, BlockIndex block) { return 1 / DeepNorm<alone.alpha>::gain(role, block); }
};

TEST_CASE("beta missing on the value matrix is found by the initial deviations", "[layers]") {
  REQUIRE(deviation_from_paper<DeepNorm<alone.alpha>>() < 0.02);
  REQUIRE(deviation_from_paper<BetaMissingOnValue>() > 0.1);
}

TEST_CASE("beta inverted is found by the initial deviations", "[layers]") {
  REQUIRE(deviation_from_paper<BetaInverted>() > 0.1);
}

/// Root of the mean square of what a stack puts out at its initial weights, for rows of variance 1.
template <class Policy, int Depth>
double output_scale() {
  using Stack = Repeat<Depth, PolicyBlock<Policy, 16, Causal>>;
  testing::LayerRun<Stack> run({.lengths = {5}});
  run.randomize(1);
  Context<Ref<double>> context;
  initialize(context, run.parameters, describe<Stack>(), 1);
  run.forward();
  const double* y = run.y.data();
  return std::sqrt(std::inner_product(y, y + run.y.size(), y, 0.0) / double(run.y.size()));
}

template <int Depth>
struct PreNormWithAlpha : PreNorm {
  static constexpr double skip(BlockIndex) { return deepnorm::decoder_only(Depth).alpha; }
};

/// Whether the stream grows faster than by addition: no more than (1 + branch) a sublayer.
template <class Policy, int Depth>
bool stream_explodes() {
  return output_scale<Policy, Depth>() > 1 + 2 * Depth;
}

TEST_CASE("a pre-norm with alpha is found by the growth of its stream", "[layers]") {
  constexpr int depth = 12;
  REQUIRE(!stream_explodes<PreNorm, depth>());
  REQUIRE(!stream_explodes<DeepNorm<deepnorm::decoder_only(depth).alpha>, depth>());
  REQUIRE(stream_explodes<PreNormWithAlpha<depth>, depth>());
  // It grows as alpha^(2 · depth).
  REQUIRE(output_scale<PreNormWithAlpha<depth>, depth>() >
          std::pow(deepnorm::decoder_only(depth).alpha, 2 * depth) / 2);
}

TEST_CASE("no policy's stream explodes at the start", "[layers]") {
  const auto check = []<class... Cases>(std::type_identity<std::tuple<Cases...>>) {
    const auto one = []<class Policy>(std::type_identity<Policy>) {
      INFO(Policy::name);
      REQUIRE(!stream_explodes<Policy, stack_depth>());
    };
    (one(std::type_identity<typename Cases::InStack>{}), ...);
  };
  check(std::type_identity<PolicyCases>{});
}

}  // namespace negative_controls_test
