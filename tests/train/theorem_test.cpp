// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/update_bound.hpp>
#include <fathom/optim/sgd.hpp>
#include <fathom/train/telemetry.hpp>
#include <fathom/train/trainer.hpp>
#include <string>
#include <vector>

#include "support/following_tokens.hpp"
#include "support/narrow_translators.hpp"

namespace theorem_test {

/// What DeepNet's theory says of an encoder and a decoder, and of one stack, from 6 to 500 layers: one step of gradient
/// descent moves the model by the matrices of its branches as far at any depth under DeepNorm, and far more under
/// Post-LN. There the lower layers of a decoder that reads an encoder get no gradients, and those of one stack do.
using namespace fathom_test;

constexpr double rate = 1e-4;

struct Measured {
  ModelUpdate update;
  double first_by_last;  ///< gradient norm of the (decoder's) first layer, by that of the last one

  double of_branches() const { return update.of(UpdateGroup::branches); }
};

/// At the initial weights, and by one step from there.
template <class Model>
Measured measure(const std::string& name, const typename Model::Batch& probe, const char* stack,
                 const TrainerOptions& options = {.seed = 1, .clip_norm = 0}) {
  Trainer<Model, Cpu<Double>, Sgd> trainer(probe.capacity(), options, {}, {.threads = 2});
  const std::vector<double> gradients = layer_gradients(trainer, probe, stack);
  Telemetry telemetry(trainer, probe);
  telemetry.remember();
  REQUIRE(trainer.step(probe, rate).skipped.empty());
  const Measured measured{telemetry.model_update(), gradients.front() / gradients.back()};
  std::printf("%-16s  %9.2e  %9.2e  %9.2e  %9.2e  %9.2e  %9.2e\n", name.c_str(), sgd_update_bound<Model>(rate),
              measured.of_branches(), measured.update.of(UpdateGroup::queries_and_keys),
              measured.update.of(UpdateGroup::norms_and_biases), measured.update.all, measured.first_by_last);
  std::fflush(stdout);
  return measured;
}

constexpr const char* columns =
    "policy, layers    bound      branches   q and k    norms      all        gradient, first / last";

void check_equal_updates(const std::vector<Measured>& deep) {
  const auto [least, most] = std::ranges::minmax(deep, {}, &Measured::of_branches);
  CHECK(most.of_branches() < 2 * least.of_branches());
  for (const Measured& one : deep) CHECK(one.first_by_last > 0.5);
}

/// Ten letters of 29, 32 pairs, smoothed labels.
template <int... Depths>
void compare_pairs(std::uint64_t seed) {
  using Pairs = ReversedPairsOf<29, 10, 10>;
  constexpr PairCapacity capacity{{320, 32, Pairs::longest}, {352, 32, Pairs::longest + 1}};
  text::PackedPairs packed(capacity);
  Pairs(capacity, seed).fill(0, packed);
  const PairBatch batch(packed);
  TrainerOptions options{.seed = seed, .clip_norm = 0};
  options.loss.smoothing = 0.1;
  const auto name = [](const char* policy, int depth) {
    return policy + (" " + std::to_string(depth) + "+" + std::to_string(depth));
  };
  std::puts(columns);
  const std::vector deep{
      measure<NarrowDeepNet<Depths, Pairs>>(name("DeepNorm", Depths), batch, "decoder.", options)...};
  const std::vector post{
      measure<NarrowTranslator<Depths, PostNorm, Pairs>>(name("Post-LN", Depths), batch, "decoder.", options)...};
  const std::vector depths{Depths...};
  check_equal_updates(deep);
  for (std::size_t i = 0; i < depths.size(); ++i) {
    INFO(depths[i] << " + " << depths[i] << " layers, seed " << seed);
    CHECK(post[i].of_branches() > 100 * deep[i].of_branches());
    if (depths[i] >= 24) CHECK(post[i].first_by_last < 1e-3);
    if (depths[i] >= 50) CHECK(post[i].first_by_last < 1e-6);
  }
}

TEST_CASE("DeepNorm's update by one step of gradient descent is the same at every depth, and Post-LN's is not",
          "[theorem][slow]") {
  compare_pairs<6, 24, 50, 100, 500>(1);
  compare_pairs<6, 24>(2);
  compare_pairs<6, 24>(3);
}

constexpr int vocabulary = 31, length = 8;
template <class Policy, int Depth>
using OneStack = LanguageModel<
    Vocabulary<vocabulary>, ContextLength<length>,
    Repeat<Depth, Sequence<Residual<Policy, Attention<64, 2>>, Residual<Policy, FeedForward<64, 128, Relu>>>,
           RecomputeSqrt>>;

template <int... Depths>
void compare_stacks() {
  const FollowingTokens<vocabulary> batch(1, 16, length);
  const auto name = [](const char* policy, int depth) { return policy + (" " + std::to_string(depth)); };
  std::puts(columns);
  const std::vector deep{measure<OneStack<DeepNorm<deepnorm::decoder_only(Depths).alpha>, Depths>>(
      name("DeepNorm", Depths), batch, "")...};
  const std::vector post{measure<OneStack<PostNorm, Depths>>(name("Post-LN", Depths), batch, "")...};
  const std::vector depths{Depths...};
  check_equal_updates(deep);
  for (std::size_t i = 0; i < depths.size(); ++i) {
    INFO(depths[i] << " layers");
    CHECK(post[i].of_branches() > 4 * depths[i] * deep[i].of_branches());  // it grows with depth
    if (depths[i] <= 24) CHECK(post[i].first_by_last > 0.1);               // no gradients vanish
  }
}

TEST_CASE("in one stack too, where gradients under Post-LN do not vanish and the update explodes", "[theorem][slow]") {
  compare_stacks<6, 24, 100, 500>();
}

}  // namespace theorem_test
