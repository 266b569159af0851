// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/generate/generator.hpp>
#include <fathom/generate/translate.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/lion.hpp>
#include <fathom/optim/sgd.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/trainer.hpp>
#include <limits>
#include <vector>

#include "support/following_tokens.hpp"
#include "support/temporary_directory.hpp"

namespace training_test {

using namespace fathom_test;

constexpr int vocabulary = 31, length = 16;

template <int Depth, int Width = 16>
using Model =
    LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderOnly<Depth, Width, 2, 2 * Width>>;
template <class B, class Optimizer = AdamW, int Depth = 2>
using SmallTrainer = Trainer<Model<Depth>, B, Optimizer>;
constexpr Capacity small{2 * length, 2, length};
constexpr cuda::Options device{.workspace = 1_MiB}, without_graphs{.graphs = false, .workspace = 1_MiB};

FollowingTokens<vocabulary> batch(std::int64_t step) { return {std::uint64_t(step), 2, length}; }

TrainerOptions with_dropout() {
  TrainerOptions options;
  options.dropout = {0.1, 0.1, 0.1, 0.1};
  options.average = 0.9;
  return options;
}

TEMPLATE_TEST_CASE("cuda: every optimizer trains as on the CPU", "[cuda]", Sgd, AdamW, Lion, Adafactor) {
  SmallTrainer<Cuda<Single>, TestType> actual(small, with_dropout(), {}, device);
  SmallTrainer<Cpu<Single>, TestType> expected(small, with_dropout(), {}, {.threads = 1});
  for (int step = 0; step < 6; ++step) {
    const StepReport a = actual.step(batch(step), 1e-3), e = expected.step(batch(step), 1e-3);
    INFO("step " << step << ": " << a.loss << ", " << e.loss);
    CHECK(testing::relative_error(a.loss, e.loss, 1) < 1e-5);
    CHECK(testing::relative_error(a.gradient_norm, e.gradient_norm, 1) < 1e-4);
  }
  CHECK(testing::relative_error(actual.evaluate(batch(99)).mean(), expected.evaluate(batch(99)).mean(), 1) < 1e-5);
}

TEMPLATE_TEST_CASE("cuda: a step that is a graph has the bits of one that is not", "[cuda]", Cuda<Single>,
                   Cuda<Mixed>) {
  SmallTrainer<TestType> graphs(small, with_dropout(), {}, device), eager(small, with_dropout(), {}, without_graphs);
  for (int step = 0; step < 5; ++step) {
    const StepReport a = graphs.step(batch(step), 1e-3 * step), b = eager.step(batch(step), 1e-3 * step);
    CHECK(a.loss == b.loss);
    CHECK(a.gradient_norm == b.gradient_norm);
  }
  CHECK(values_of(graphs.masters()) == values_of(eager.masters()));
  CHECK(values_of(graphs.optimizer_state()) == values_of(eager.optimizer_state()));
}

TEMPLATE_TEST_CASE("cuda: products that are timed are the same products", "[cuda]", Cuda<Single>, Cuda<Mixed>) {
  cuda::Options timing = device;
  timing.timed = true;
  SmallTrainer<TestType> timed(small, {}, {}, timing), chosen(small, {}, {}, device);
  for (int step = 0; step < 3; ++step) {
    const double loss = timed.step(batch(step), 1e-3).loss;
    CHECK(testing::relative_error(loss, chosen.step(batch(step), 1e-3).loss, 1) < 1e-3);
  }
}

TEMPLATE_TEST_CASE("cuda: a resumed run ends in the bits of the uninterrupted one", "[cuda]", Cuda<Single>,
                   Cuda<Mixed>) {
  const TemporaryDirectory folder;
  SmallTrainer<TestType> whole(small, with_dropout(), {}, device), first(small, with_dropout(), {}, device),
      second(small, with_dropout(), {}, device);
  for (int step = 0; step < 6; ++step) {
    whole.step(batch(step), 3e-3);
    if (step < 3) first.step(batch(step), 3e-3);
  }
  save_checkpoint(folder / "checkpoint", first);
  load_checkpoint(folder / "checkpoint", second);
  for (int step = 3; step < 6; ++step) second.step(batch(step), 3e-3);
  CHECK(values_of(second.masters()) == values_of(whole.masters()));
  CHECK(values_of(second.optimizer_state()) == values_of(whole.optimizer_state()));
  CHECK(second.evaluate(batch(99)).cross_entropy == whole.evaluate(batch(99)).cross_entropy);
}

TEST_CASE("cuda: a checkpoint goes on on the CPU, and back", "[cuda]") {
  const TemporaryDirectory folder;
  SmallTrainer<Cuda<Single>> gpu(small, {}, {}, device);
  SmallTrainer<Cpu<Single>> cpu(small, {}, {}, {.threads = 1});
  for (int step = 0; step < 2; ++step) gpu.step(batch(step), 3e-3);
  save_checkpoint(folder / "checkpoint", gpu);
  load_checkpoint(folder / "checkpoint", cpu);
  CHECK(values_of(gpu.weights().flat()) == values_of(cpu.weights().flat()));
  const double loss = cpu.step(batch(2), 3e-3).loss;
  CHECK(testing::relative_error(gpu.step(batch(2), 3e-3).loss, loss, 1) < 1e-5);
  save_checkpoint(folder / "checkpoint", cpu);
  load_checkpoint(folder / "checkpoint", gpu);
  CHECK(values_of(gpu.optimizer_state()) == values_of(cpu.optimizer_state()));
}

TEST_CASE("cuda: mixed precision trains as in floats", "[cuda]") {
  SmallTrainer<Cuda<Mixed>, AdamW, 6> mixed(small, {}, {}, device);
  SmallTrainer<Cpu<Single>, AdamW, 6> floats(small, {}, {}, {.threads = 1});
  for (int step = 0; step < 20; ++step) {
    const double a = mixed.step(batch(step), 1e-3).loss, e = floats.step(batch(step), 1e-3).loss;
    INFO("step " << step << ": " << a << ", " << e);
    CHECK(testing::relative_error(a, e, 1) < 0.01);
  }
}

TEST_CASE("cuda: what is not finite is named, and nothing is changed", "[cuda]") {
  SmallTrainer<Cuda<Single>> trainer(small, {}, {}, device);
  const ParameterInfo& broken = trainer.table()[5];
  write_tensor(trainer.masters(), broken,
               std::vector(std::size_t(broken.size()), std::numeric_limits<float>::quiet_NaN()));
  const auto before = values_of(trainer.optimizer_state());
  const StepReport report = trainer.step(batch(0), 1e-3);
  INFO(report.skipped);
  CHECK(report.skipped.find("not finite, first in batch.0.forward.blocks.0.attention (linear)") == 0);
  CHECK(values_of(trainer.optimizer_state()) == before);
}

TEST_CASE("cuda: also of a batch so small that no op of the step needs as much memory as looking", "[cuda]") {
  using Tiny = Model<1, 256>;
  constexpr Capacity capacity{4, 1, 4};
  Trainer<Tiny, Cuda<Single>, AdamW> trainer(capacity, {}, {}, device);
  for (const ParameterInfo& info : trainer.table())
    if (info.name == "blocks.0.feed_forward.output.weight")
      write_tensor(trainer.masters(), info,
                   std::vector(std::size_t(info.size()), std::numeric_limits<float>::quiet_NaN()));
  const FollowingTokens<vocabulary> few{1, 1, 4};
  CHECK(trainer.step(few, 1e-3).skipped == "not finite, first in batch.0.forward.blocks.0.feed_forward (linear)");
}

TEMPLATE_TEST_CASE("cuda: what a trainer allocates is what was planned", "[cuda]", Cuda<Single>, Cuda<Mixed>) {
  SmallTrainer<TestType> trainer(small, {}, {}, device);
  constexpr MemoryPlan plan = training_memory<Model<2>, TestType, AdamW>(small);
  CHECK(trainer.allocated_bytes() - device.workspace == plan.total());
}

TEMPLATE_TEST_CASE("cuda: a generator says what it says on the CPU", "[cuda]", Single, Mixed) {
  const auto texts = [](auto backend, const auto& machine) {
    using B = decltype(backend);
    const Weights<Model<2>, B> weights(3);
    Generator<Model<2>, B> generator(weights, {.sequences = 2, .tokens = 8, .sampling = {.temperature = 0}}, machine);
    const std::vector<int> first{1, 2, 3}, second{7};
    generator.start(std::vector<std::span<const int>>{first, second});
    while (generator.step()) {
    }
    std::vector<int> all;
    for (int s = 0; s < generator.sequences(); ++s)
      all.insert(all.end(), generator.text(s).begin(), generator.text(s).end());
    return all;
  };
  const auto on_host = texts(Cpu<TestType>{}, Cpu<TestType>::one_lane());
  CHECK(on_host.size() == 20);
  CHECK(texts(Cuda<TestType>{}, device) == on_host);
}

TEMPLATE_TEST_CASE("cuda: a beam finds what it finds on the CPU", "[cuda]", Single, Mixed) {
  using Translating =
      Translator<Encoder<Vocabulary<vocabulary>, ContextLength<length>, deepnet::EncoderStack<2, 2, 16, 2>>,
                 Decoder<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderStack<2, 2, 16, 2>>>;
  const auto found = [](auto backend, const auto& machine) {
    const Weights<Translating, decltype(backend)> weights(3);
    const std::vector<std::vector<int>> sources{{1, 2, 3, 4, 5}, {7}, {8, 9, 1}};
    const PairGeneratorOptions options{.begin = 0, .end = 1, .sentences = 2, .limit = {1, 5}, .beam = 3, .best = 2};
    return translate(weights, sources, options, machine);
  };
  const auto host = found(Cpu<TestType>{}, Cpu<TestType>::one_lane()), here = found(Cuda<TestType>{}, device);
  REQUIRE(here.size() == host.size());
  for (std::size_t s = 0; s < host.size(); ++s) {
    REQUIRE(here[s].size() == host[s].size());
    for (std::size_t i = 0; i < host[s].size(); ++i) {
      INFO("source " << s << ", hypothesis " << i);
      CHECK(here[s][i].tokens == host[s][i].tokens);
      CHECK(testing::relative_error(here[s][i].score, host[s][i].score, 1) < 0.01);
    }
  }
}

}  // namespace training_test
