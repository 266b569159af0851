// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/lion.hpp>
#include <fathom/optim/sgd.hpp>
#include <fathom/train/average_checkpoints.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/trainer.hpp>
#include <utility>
#include <vector>

#include "support/following_tokens.hpp"
#include "support/temporary_directory.hpp"

namespace masters_test {

/// Training with masters of their own.
using namespace fathom_test;

constexpr int vocabulary = 31, length = 16;

template <int Depth>
using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderOnly<Depth, 16, 2, 32>>;
template <class B, class Optimizer = AdamW>
using SmallTrainer = Trainer<Model<2>, B, Optimizer>;
constexpr Capacity small{2 * length, 2, length};

FollowingTokens<vocabulary> batch(std::int64_t step, int sequences = 2) {
  return {std::uint64_t(step), sequences, length};
}

template <class Trainer>
void require_rounded(Trainer& trainer) {
  const auto weights = values_of(trainer.weights().flat());
  const auto masters = values_of(trainer.masters());
  for (std::size_t i = 0; i < weights.size(); ++i)
    REQUIRE(double(weights[i]) == double(rounded<typename Trainer::P::Weight>(masters[i])));
}

template <class Memory>
std::vector<float> floats(const Memory& memory) {
  const auto values = values_of(memory);
  return {values.begin(), values.end()};
}

TEST_CASE("mixed: bits on the CPU do not depend on the number of threads", "[mixed][threads]") {
  TrainerOptions options;
  options.dropout = {0.1, 0.1, 0.1, 0.1};
  constexpr Capacity capacity{6 * length, 6, length};
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    SmallTrainer<Cpu<Mixed>> trainer(capacity, options, {}, {.threads = threads});
    for (int step = 0; step < 5; ++step) trainer.step(batch(step, 6), 3e-3);
    const std::vector<float> masters = floats(trainer.masters());
    if (first.empty()) first = masters;
    CHECK(masters == first);
  }
}

/// Masters of double.
struct DoubleMasters : MixedOf<F16> {
  using Master = double;
};

TEMPLATE_TEST_CASE("mixed: weights are the rounding of masters, for every optimizer", "[mixed]", Sgd, Adam, AdamW, Lion,
                   Adafactor) {
  SmallTrainer<Ref<Mixed>, TestType> trainer(small, {});
  require_rounded(trainer);
  Weights<Model<2>, Ref<float>> initial(1);
  CHECK(floats(trainer.masters()) == floats(initial.flat()));
  CHECK(floats(Weights<Model<2>, Ref<Mixed>>(1).flat()) == floats(trainer.weights().flat()));
  for (int step = 0; step < 4; ++step) REQUIRE(trainer.step(batch(step), 1e-4).skipped.empty());
  require_rounded(trainer);
  CHECK(floats(trainer.masters()) != floats(initial.flat()));
}

TEMPLATE_TEST_CASE("mixed: what a trainer allocates is what was planned", "[mixed]", Ref<Mixed>,
                   (Ref<MixedOf<Bf16, Bf16>>), Ref<float>, Ref<DoubleMasters>, Cpu<Mixed>) {
  TrainerOptions options;
  options.average = 0.9;
  SmallTrainer<TestType> trainer(small, options, {}, TestType::one_lane());
  constexpr MemoryPlan plan = training_memory<Model<2>, TestType, AdamW>(small, 1, {}, true);
  CHECK(trainer.allocated_bytes() == plan.total());
  CHECK((plan.masters > 0) == !updates_weights<typename TestType::Precision>);
  CHECK(plan.checkpoint_copy() == plan.average * 2 + plan.optimizer);
}

TEMPLATE_TEST_CASE("mixed: a resumed run ends in the bits of the uninterrupted one", "[mixed]", Ref<Mixed>,
                   (Ref<MixedOf<F16, F16>>), Ref<DoubleMasters>, Cpu<Mixed>) {
  const TemporaryDirectory folder;
  TrainerOptions options;
  options.average = 0.9;
  options.dropout = {0.1, 0.1, 0.1, 0.1};
  SmallTrainer<TestType> whole(small, options), first(small, options), second(small, options);
  for (int step = 0; step < 8; ++step) {
    whole.step(batch(step), 3e-3);
    if (step < 5) first.step(batch(step), 3e-3);
  }
  save_checkpoint(folder / "checkpoint", first);
  load_checkpoint(folder / "checkpoint", second);
  require_rounded(second);
  for (int step = 5; step < 8; ++step) second.step(batch(step), 3e-3);

  CHECK(values_of(second.masters()) == values_of(whole.masters()));
  CHECK(floats(second.weights().flat()) == floats(whole.weights().flat()));
  CHECK(values_of(second.optimizer_state()) == values_of(whole.optimizer_state()));
  CHECK(values_of(second.average()->flat()) == values_of(whole.average()->flat()));
  CHECK(second.evaluate(batch(99)).cross_entropy == whole.evaluate(batch(99)).cross_entropy);
  require_rounded(second);  // also after an evaluation with the average

  using Master = typename TestType::Precision::Master;
  const safetensors::File file(folder / "checkpoint" / "model.safetensors");
  for (const safetensors::Tensor& tensor : file.tensors()) CHECK(tensor.dtype == safetensors::dtype_of<Master>);
}

TEMPLATE_TEST_CASE("mixed: a run goes on in the other precision", "[mixed]", (std::pair<Cpu<Mixed>, Cpu<Single>>),
                   (std::pair<Cpu<Single>, Cpu<Mixed>>)) {
  const TemporaryDirectory folder;
  SmallTrainer<typename TestType::first_type> whole(small, {});
  SmallTrainer<typename TestType::second_type> second(small, {});
  for (int step = 0; step < 20; ++step) whole.step(batch(step), 3e-3);
  save_checkpoint(folder / "checkpoint", whole);
  load_checkpoint(folder / "checkpoint", second);
  CHECK(second.counters().step == 20);
  CHECK(values_of(second.masters()) == values_of(whole.masters()));
  CHECK(values_of(second.optimizer_state()) == values_of(whole.optimizer_state()));
  require_rounded(second);

  const double before = whole.evaluate(batch(99)).cross_entropy;
  for (int step = 20; step < 40; ++step) {
    whole.step(batch(step), 3e-3);
    second.step(batch(step), 3e-3);
  }
  const double after = whole.evaluate(batch(99)).cross_entropy;
  CHECK(after < 0.95 * before);  // it learns, and so does the other
  CHECK(std::abs(second.evaluate(batch(99)).cross_entropy / after - 1) < 0.01);
}

TEST_CASE("mixed: a checkpoint's weights are rounded once, for inference and for means", "[mixed]") {
  const TemporaryDirectory folder;
  SmallTrainer<Ref<Mixed>> trainer(small, {});
  std::vector<float> first;
  for (const char* name : {"run/checkpoints/1", "run/checkpoints/2", "checkpoint"}) {
    trainer.step(batch(1), 1e-2);
    save_checkpoint(folder / name, trainer);
    if (first.empty()) first = values_of(trainer.masters());
  }
  const auto weights = load_checkpoint_weights<Model<2>, Ref<Mixed>>(folder / "checkpoint");
  CHECK(floats(weights.flat()) == floats(trainer.weights().flat()));
  const auto exact = load_checkpoint_weights<Model<2>, Ref<float>>(folder / "checkpoint");
  CHECK(floats(exact.flat()) == floats(trainer.masters()));

  const auto second = load_checkpoint_weights<Model<2>, Ref<float>>(folder / "run/checkpoints/2");
  const auto averaged = average_last_checkpoints<Model<2>, Ref<Mixed>>(folder / "run", 2);
  const std::vector<float> masters = floats(second.flat()), mean = floats(averaged.flat());
  for (std::size_t i = 0; i < mean.size(); ++i) REQUIRE(mean[i] == Bf16(first[i] / 2 + masters[i] / 2));
}

}  // namespace masters_test
