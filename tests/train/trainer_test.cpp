// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "support/allocations.hpp"
#include "support/reference.hpp"
#include "support/temporary_directory.hpp"
#include "train/models.hpp"

namespace {
using namespace fathom_test;

const Capacity capacity{4 * context, 4, context};

template <class P>
using TrainerIn = Trainer<SmallModel, Cpu<P>, AdamW>;

TrainerOptions without_limits() {
  TrainerOptions options;
  options.clip_norm = options.spike_factor = 0;
  return options;
}
/// The largest |a - b|; infinite where one is NaN.
template <class A, class B>
double distance(const A& a, const B& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double(a[i]) - double(b[i]));
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
  }
  return worst;
}
template <class T>
std::vector<T> copy(std::span<T> values) {
  return {values.begin(), values.end()};
}

TEST_CASE("20 steps of training agree with PyTorch", "[trainer]") {
  const Reference reference("training");
  REQUIRE(std::abs(reference.number("alpha") - deepnorm::decoder_only(depth).alpha) < 1e-15);
  TrainerOptions options;
  options.spike_factor = 0;
  options.clip_norm = reference.number("clip");
  const AdamW::Options adam{.learning_rate = reference.number("learning_rate"),
                            .beta1 = reference.number("beta1"),
                            .beta2 = reference.number("beta2"),
                            .epsilon = reference.number("epsilon"),
                            .weight_decay = reference.number("weight_decay")};
  TrainerIn<Double> trainer(capacity, options, adam, {.threads = 2});
  REQUIRE(reference.count("parameter.") == int(trainer.table().size()));
  for (const ParameterInfo& info : trainer.table())
    std::ranges::copy(reference.values("parameter." + info.name), trainer.weights().tensor(info).begin());

  PackedRows rows(capacity);
  rows.assign(reference.lengths("offsets"));
  const auto tokens = reference.integers("input.tokens"), targets = reference.integers("input.targets");
  const auto losses = reference.values("output.loss"), norms = reference.values("output.gradient_norm");
  REQUIRE(losses.size() == 20);
  const auto count = std::size_t(rows.rows());
  for (std::size_t step = 0; step < losses.size(); ++step) {
    const StepReport report = trainer.step(TokenBatch{rows, std::span(tokens).subspan(step * count, count),
                                                      std::span(targets).subspan(step * count, count)});
    INFO("step " << step);
    CHECK(report.skipped.empty());
    CHECK(std::abs(report.loss - losses[step]) <= 1e-9);
    CHECK(std::abs(report.gradient_norm - norms[step]) <= 1e-9);
  }
  for (const ParameterInfo& info : trainer.table()) {
    INFO(info.name);
    CHECK(distance(trainer.weights().tensor(info), reference.values("final.parameter." + info.name)) <= 1e-9);
  }
}

TEST_CASE("a step that is not finite names the layer and leaves the weights", "[trainer]") {
  TrainerIn<Single> trainer(capacity, without_limits(), {}, {.threads = 2});
  trainer.step(SomeBatch(1));
  const auto broken = std::ranges::find(trainer.table(), "blocks.1.feed_forward.input.weight", &ParameterInfo::name);
  REQUIRE(broken != trainer.table().end());
  float& value = trainer.weights().tensor(*broken)[5];
  const float healthy = value;
  value = std::numeric_limits<float>::quiet_NaN();
  const auto weights = copy(trainer.weights().flat()), state = copy(trainer.optimizer_state());
  const StepReport report = trainer.step(SomeBatch(2));
  INFO(report.skipped);
  CHECK(report.step == 2);
  CHECK(report.skipped.find("forward.") != std::string::npos);
  CHECK(report.skipped.find("blocks.1.feed_forward") != std::string::npos);
  CHECK(std::memcmp(weights.data(), trainer.weights().flat().data(), weights.size() * sizeof(float)) == 0);
  CHECK(std::memcmp(state.data(), trainer.optimizer_state().data(), state.size() * sizeof(float)) == 0);
  CHECK(trainer.progress().updates == 1);
  CHECK(trainer.progress().skipped_in_a_row == 1);

  value = healthy;
  CHECK(trainer.step(SomeBatch(2)).skipped.empty());  // no gradient is left over
  CHECK(trainer.progress().skipped_in_a_row == 0);
}

TEST_CASE("a spike is skipped and training gives up after many", "[trainer]") {
  TrainerOptions options;
  options.patience = 2;
  TrainerIn<Single> trainer(capacity, options, {}, {.threads = 1});
  typename TrainerIn<Single>::Progress progress;
  progress.norms = {.mean = 1e-6, .count = NormTracker::settled};
  trainer.restore(progress);
  const auto weights = copy(trainer.weights().flat());
  const StepReport report = trainer.step(SomeBatch(1));
  INFO(report.skipped);
  CHECK(report.skipped.find("largest in ") != std::string::npos);
  CHECK(std::ranges::equal(weights, trainer.weights().flat()));
  CHECK(message_of<Error>([&] { trainer.step(SomeBatch(1)); }).find("2 updates in a row") != std::string::npos);
}

TEST_CASE("two half batches are one batch", "[trainer]") {
  const SomeBatch whole(3, 4);
  TrainerIn<Double> one(capacity, without_limits(), {}, {.threads = 2});
  TrainerIn<Double> two(capacity, without_limits(), {}, {.threads = 2});
  PackedRows rows(capacity);
  rows.assign(std::vector{context, context});
  const std::size_t count = 2 * context;
  const auto half = [&](std::size_t begin) {
    return TokenBatch{rows, std::span(whole.tokens).subspan(begin, count),
                      std::span(whole.targets).subspan(begin, count)};
  };
  const TokenBatch halves[] = {half(0), half(count)};
  for (int step = 0; step < 3; ++step) {
    const StepReport a = one.step(whole, 1e-3), b = two.step(halves, 1e-3);
    CHECK(std::abs(a.loss - b.loss) <= 1e-12);
    CHECK(std::abs(a.gradient_norm - b.gradient_norm) <= 1e-12);
    CHECK(a.tokens == b.tokens);
  }
  // Adam divides tiny gradients by themselves, which enlarges rounding; its first moment does not.
  const auto total = std::size_t(parameter_extent<SmallModel>().total());
  CHECK(distance(one.optimizer_state().first(total), two.optimizer_state().first(total)) <= 1e-12);
  CHECK(distance(one.weights().flat(), two.weights().flat()) <= 1e-9);
}

TEST_CASE("any number of threads trains to the same bits", "[trainer][threads]") {
  const auto trained = [](int threads) {
    TrainerOptions options;
    options.dropout.residual = options.dropout.embedding = 0.1;
    TrainerIn<Single> trainer(capacity, options, {}, {.threads = threads});
    std::vector<float> result;
    for (std::uint64_t step = 0; step < 5; ++step) result.push_back(float(trainer.step(SomeBatch(step)).loss));
    std::ranges::copy(trainer.weights().flat(), std::back_inserter(result));
    return result;
  };
  const auto one = trained(1);
  CHECK(one == trained(2));
  CHECK(one == trained(3));
}

TEST_CASE("a training step allocates nothing", "[trainer]") {
  for (const int threads : {1, 2}) {
    TrainerIn<Single> trainer(capacity, {}, {}, {.threads = threads});
    const SomeBatch batch(1);
    const long before = allocations;
    for (int step = 0; step < 3; ++step) trainer.step(batch);
    const long during = allocations - before;
    CHECK(during == 0);
  }
}

TEST_CASE("a batch that does not fit is refused", "[trainer]") {
  TrainerIn<Single> trainer(capacity, {}, {}, {.threads = 1});
  SomeBatch batch(1);
  batch.tokens[3] = vocabulary;
  CHECK(message_of<ShapeError>([&] { trainer.step(batch); }).find("row 3") != std::string::npos);
  CHECK(!message_of<ShapeError>([&] { trainer.step(SomeBatch(1, 2)); }).empty());
  CHECK(!message_of<ShapeError>([&] { TrainerIn<Single>({26, 2, 13}, {}); }).empty());
  CHECK(message_of<Error>([&] { trainer.step(std::span<const TokenBatch>(), 1e-3); }).find("batches") !=
        std::string::npos);
  CHECK(trainer.progress().step == 0);
}

}  // namespace
