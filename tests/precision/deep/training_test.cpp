// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>

#include "support/following_tokens.hpp"

namespace training_test {

/// Mixed precision on deep models: what it does to training.
using namespace fathom_test;

constexpr int vocabulary = 31, length = 16;

template <int Depth>
using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderOnly<Depth, 16, 2, 32>>;

/// The mean loss of the updates 181 to 200, over the seeds: of each, initial weights and texts of their own.
template <class M, class B>
double last_loss(int sequences, int seeds) {
  double mean = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    TrainerOptions options;
    options.seed = std::uint64_t(seed);
    Trainer<M, B, AdamW> trainer({sequences * length, sequences, length}, options);
    for (int step = 0; step < 200; ++step) {
      const auto report =
          trainer.step(FollowingTokens<vocabulary>(std::uint64_t(1000 * seed + step), sequences, length),
                       3e-3 * std::min(1.0, (step + 1) / 20.0));
      REQUIRE(report.skipped.empty());
      if (step >= 180) mean += report.loss / 20 / seeds;
    }
  }
  return mean;
}

/// Few short sequences give gradients so noisy that, at this rate, two runs part by more than a hundredth whatever the
/// precision: so there are enough of them, and several seeds where the backend is fast.
template <int Depth, class B>
void check_training(const char* name, int seeds, double bound) {
  constexpr int sequences = 32;
  const double exact = last_loss<Model<Depth>, Cpu<Single>>(sequences, seeds);
  const double mixed = last_loss<Model<Depth>, B>(sequences, seeds);
  std::printf("%3d layers, loss of updates 181 to 200: floats %.5f; %s %.5f (%+.2f %%)\n", Depth, exact, name, mixed,
              100 * (mixed / exact - 1));
  CHECK(exact < 2);  // the logarithm of the vocabulary is 3.4: it learns
  CHECK(std::abs(mixed / exact - 1) < bound);
}

TEST_CASE("mixed: 200 updates of 6 layers have the losses of floats", "[mixed]") {
  check_training<6, Ref<Mixed>>("mixed", 1, 0.01);
  check_training<6, Cpu<Mixed>>("mixed on the CPU", 2, 0.01);
  check_training<6, Ref<MixedOf<Bf16, Bf16>>>("stream of 16 bits", 1, 0.03);
}
TEST_CASE("mixed: 200 updates of 100 layers have the losses of floats", "[mixed]") {
  check_training<100, Ref<Mixed>>("mixed", 1, 0.01);
}
TEST_CASE("mixed: 200 updates of 100 layers on the CPU have the losses of floats", "[mixed]") {
  check_training<100, Cpu<Mixed>>("mixed on the CPU", 2, 0.01);
}
TEST_CASE("mixed: 200 updates of 100 layers have the losses of floats, with a stream of 16 bits", "[mixed]") {
  check_training<100, Ref<MixedOf<Bf16, Bf16>>>("stream of 16 bits", 1, 0.03);
}

}  // namespace training_test
