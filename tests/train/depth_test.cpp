// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/text/text.hpp>
#include <fathom/train/trainer.hpp>
#include <numeric>
#include <vector>

namespace depth_test {

/// 1,000 layers: what they need, and that they learn.
using namespace fathom;

constexpr int depth = 1000, context = 64, batch_size = 2, threads = 2;
constexpr Capacity capacity{batch_size * context, batch_size, context};

template <class Stored>
using Model = LanguageModel<Vocabulary<256>, ContextLength<context>,
                            Repeat<depth, deepnet::Block<depth, 64, 2, Causal, 256, Gelu>, Stored>>;
template <class Stored>
using TrainerOf = Trainer<Model<Stored>, Cpu<>, AdamW>;
template <class Stored>
constexpr MemoryPlan plan = training_memory<Model<Stored>, Cpu<>, AdamW>(capacity, threads);

// What backward recomputes lies in the workspace, so that is a part of the comparison.
constexpr std::int64_t of_activations(const MemoryPlan& plan) { return plan.activations + plan.workspace; }
static_assert(10 * of_activations(plan<RecomputeSqrt>) <= of_activations(plan<StoreAll>));

/// What was allocated besides weights, gradients and optimizer state.
std::int64_t activation_bytes(auto& trainer) {
  const std::int64_t parameters =
      trainer.weights().flat().size() + trainer.gradients().size() + trainer.optimizer_state().size();
  return trainer.allocated_bytes() - parameters * std::int64_t(sizeof(float));
}

/// Windows of an English text that does not change.
struct Text {
  text::Corpus<text::Bytes::Token> corpus = text::load(text::Bytes{}, "LICENSE");
  text::Windows<text::Bytes::Token> windows{corpus, {.batch = batch_size, .length = context, .seed = 1}};
};

TEST_CASE("1,000 layers: recomputation keeps a tenth of the activations and changes no bit", "[depth][slow]") {
  const Text text;
  text::PackedTokens batch(capacity);
  text.windows.fill(0, batch);
  std::vector<float> gradients;
  double cross_entropy;
  std::int64_t stored_bytes;
  {
    TrainerOf<StoreAll> trainer(capacity, {}, {}, {.threads = threads});
    cross_entropy = trainer.differentiate(batch).mean();
    gradients = values_of(trainer.gradients());
    stored_bytes = activation_bytes(trainer);
  }
  TrainerOf<RecomputeSqrt> trainer(capacity, {}, {}, {.threads = threads});
  CHECK(trainer.differentiate(batch).mean() == cross_entropy);
  CHECK(values_of(trainer.gradients()) == gradients);
  CHECK(std::ranges::count(gradients, 0.0f) < std::ssize(gradients) / 10);
  CHECK(10 * activation_bytes(trainer) <= stored_bytes);
}

TEST_CASE("1,000 layers learn", "[depth][slow]") {
  const Text text;
  text::Prefetch batches(text.windows);
  TrainerOf<RecomputeSqrt> trainer(capacity, {}, {}, {.threads = threads});
  const Cosine schedule({.peak = 1e-3, .total_steps = 20, .warmup_steps = 10});
  std::vector<double> losses;
  for (int step = 1; step <= 20; ++step) {
    const StepReport report = trainer.step(batches.next(), schedule(step));
    INFO("step " << step << ": loss " << report.loss << ", gradient norm " << report.gradient_norm);
    REQUIRE(report.skipped.empty());
    REQUIRE(std::isfinite(report.loss));
    losses.push_back(report.loss);
  }
  const double first = std::reduce(losses.begin(), losses.begin() + 5) / 5,
               last = std::reduce(losses.end() - 5, losses.end()) / 5;
  INFO("mean loss of the first 5 steps " << first << ", of the last 5 " << last);
  CHECK(last < first - 0.5);
}

}  // namespace depth_test
