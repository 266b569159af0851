// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>
#include <fathom/backend/cpu/matmul/eigen.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/lion.hpp>
#include <fathom/train/checkpoint.hpp>
#include <limits>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "support/allocations.hpp"
#include "support/reference.hpp"
#include "support/temporary_directory.hpp"
#include "train/models.hpp"

namespace trainer_test {

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
template <class Memory, class T>
void fill(Memory& memory, T value) {
  memory.upload(0, std::vector(std::size_t(memory.size()), value));
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
    write_tensor(trainer.weights().flat(), info, reference.values("parameter." + info.name));

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
    CHECK(distance(read_tensor(trainer.weights().flat(), info), reference.values("final.parameter." + info.name)) <= 1e-9);
  }
}

TEST_CASE("a step that is not finite names the layer and leaves the weights", "[trainer]") {
  TrainerIn<Single> trainer(capacity, without_limits(), {}, {.threads = 2});
  trainer.step(SomeBatch(1));
  const auto broken = std::ranges::find(trainer.table(), "blocks.1.feed_forward.input.weight", &ParameterInfo::name);
  REQUIRE(broken != trainer.table().end());
  const float healthy = read_tensor(trainer.weights().flat(), *broken)[5];
  const auto set = [&](float value) { trainer.weights().flat().upload(broken->offset + 5, {&value, 1}); };
  set(std::numeric_limits<float>::quiet_NaN());
  const auto weights = values_of(trainer.weights().flat()), state = values_of(trainer.optimizer_state());
  const StepReport report = trainer.step(SomeBatch(2));
  INFO(report.skipped);
  CHECK(report.step == 2);
  CHECK(report.skipped.find("forward.") != std::string::npos);
  CHECK(report.skipped.find("blocks.1.feed_forward") != std::string::npos);
  const auto weights_after = values_of(trainer.weights().flat()), state_after = values_of(trainer.optimizer_state());
  CHECK(std::memcmp(weights.data(), weights_after.data(), weights.size() * sizeof(float)) == 0);
  CHECK(std::memcmp(state.data(), state_after.data(), state.size() * sizeof(float)) == 0);
  CHECK(trainer.counters().updates == 1);
  CHECK(trainer.counters().skipped_in_a_row == 1);

  set(healthy);
  CHECK(trainer.step(SomeBatch(2)).skipped.empty());  // no gradient is left over
  CHECK(trainer.counters().skipped_in_a_row == 0);
}

TEST_CASE("a spike is skipped and training gives up after many", "[trainer]") {
  TrainerOptions options;
  options.patience = 2;
  TrainerIn<Single> trainer(capacity, options, {}, {.threads = 1});
  typename TrainerIn<Single>::Counters counters;
  counters.norms = {.mean = 1e-6, .count = NormTracker::settled};
  trainer.restore(counters);
  const auto weights = values_of(trainer.weights().flat());
  const StepReport report = trainer.step(SomeBatch(1));
  INFO(report.skipped);
  CHECK(report.skipped.find("largest in backward.") != std::string::npos);
  CHECK(weights == values_of(trainer.weights().flat()));
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
  const auto first_moment = [](auto& trainer) {
    std::vector<double> values = values_of(trainer.optimizer_state());
    values.resize(std::size_t(parameter_extent<SmallModel>().total()));
    return values;
  };
  CHECK(distance(first_moment(one), first_moment(two)) <= 1e-12);
  CHECK(distance(values_of(one.weights().flat()), values_of(two.weights().flat())) <= 1e-9);
}

TEST_CASE("any number of threads trains to the same bits", "[trainer][threads]") {
  const auto trained = [](int threads) {
    TrainerOptions options;
    options.dropout.residual = options.dropout.embedding = 0.1;
    TrainerIn<Single> trainer(capacity, options, {}, {.threads = threads});
    std::vector<float> result;
    for (std::uint64_t step = 0; step < 5; ++step) result.push_back(float(trainer.step(SomeBatch(step)).loss));
    std::ranges::copy(values_of(trainer.weights().flat()), std::back_inserter(result));
    return result;
  };
  const auto one = trained(1);
  CHECK(one == trained(2));
  CHECK(one == trained(3));
}

#if defined(__x86_64__)
TEST_CASE("where subnormal numbers are zero, as in a program linked with -ffast-math, bits and guard stay",
          "[trainer]") {
  const auto trained = [] {
    TrainerIn<Single> trainer(capacity, {}, {}, {.threads = 2});
    std::vector<float> result;
    for (std::uint64_t step = 0; step < 20; ++step) result.push_back(float(trainer.step(SomeBatch(step)).loss));
    std::ranges::copy(values_of(trainer.weights().flat()), std::back_inserter(result));
    fill(trainer.weights().flat(), std::numeric_limits<float>::quiet_NaN());
    CHECK(trainer.step(SomeBatch(0)).skipped.find("embedding") != std::string::npos);
    return result;
  };
  const auto expected = trained();
  const unsigned kept = _mm_getcsr();
  _mm_setcsr(kept | 0x8040);  // results and operands below the smallest normal number are zero; new threads do the same
  const auto flushed = trained();
  _mm_setcsr(kept);
  CHECK(flushed == expected);
}
#endif

TEST_CASE("what is not finite in a backward pass alone is found there", "[trainer]") {
  TrainerOptions options = without_limits();
  options.loss.z_loss = 1e39;  // a loss that double holds, a gradient that float does not
  TrainerIn<Single> trainer(capacity, options, {}, {.threads = 2});
  const auto weights = values_of(trainer.weights().flat());
  const SomeBatch a(1), b(2);
  const TokenBatch batches[] = {a, b};
  const StepReport report = trainer.step(batches, 1e-3);
  INFO(report.skipped);
  CHECK(std::isfinite(report.loss));
  CHECK(report.skipped.find("batch.0.backward.output") != std::string::npos);
  CHECK(weights == values_of(trainer.weights().flat()));
}

TEST_CASE("no update makes weights that are not finite", "[trainer]") {
  TrainerIn<Single> trainer(capacity, without_limits(), {}, {.threads = 1});
  const auto weights = values_of(trainer.weights().flat());
  for (const double rate : {1e300, 1e7, -1e-3, std::numeric_limits<double>::quiet_NaN()})
    CHECK(message_of<Error>([&] { trainer.step(SomeBatch(1), rate); }).find("learning rate") != std::string::npos);
  CHECK(trainer.counters().step == 0);
  // Finite gradients whose squares are not.
  TrainerOptions options = without_limits();
  options.loss.z_loss = 1e25;
  TrainerIn<Single> steep(capacity, options, {}, {.threads = 1});
  CHECK(steep.step(SomeBatch(1)).skipped.find("the sum of the gradients") != std::string::npos);
  for (auto* untouched : {&trainer, &steep}) CHECK(weights == values_of(untouched->weights().flat()));
}

TEST_CASE("a gradient whose squares the optimizer cannot keep is skipped, unless it is clipped", "[trainer]") {
  const SomeBatch batch(1);
  TrainerOptions options = without_limits();
  options.loss.z_loss = 1e10;  // far above the cross-entropy, so that the gradient is proportional to it
  const double norm = TrainerIn<Single>(capacity, options, {}, {.threads = 1}).step(batch).gradient_norm;
  options.loss.z_loss *= 1.55e19 / norm;  // its square is above half of what float holds
  TrainerIn<Single> steep(capacity, options, {}, {.threads = 1});
  const auto weights = values_of(steep.weights().flat());
  const StepReport report = steep.step(batch);
  INFO(report.skipped);
  CHECK(std::isfinite(report.gradient_norm));
  CHECK(report.skipped.starts_with("the gradient is too large for its squares, its norm is 1.55e+19, largest in "));
  CHECK(weights == values_of(steep.weights().flat()));
  CHECK(std::ranges::count(values_of(steep.optimizer_state()), 0.f) == steep.optimizer_state().size());
  CHECK((steep.counters().updates == 0 && steep.counters().norms.count == 0));

  options.clip_norm = 1;
  TrainerIn<Single> clipped(capacity, options, {}, {.threads = 1});
  CHECK(clipped.step(batch).skipped.empty());
  const TemporaryDirectory folder;
  CHECK_NOTHROW(save_checkpoint(folder / "clipped", clipped));
}

TEST_CASE("options without sense are refused", "[trainer]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const struct {
    const char* field;
    TrainerOptions options;
  } cases[] = {{"dropout", {.dropout = {.attention = 1}}},
               {"dropout", {.dropout = {.residual = -0.1}}},
               {"dropout", {.dropout = {.embedding = nan}}},
               {"loss.smoothing", {.loss = {.smoothing = 2}}},
               {"loss.z_loss", {.loss = {.z_loss = -1}}},
               {"clip_norm", {.clip_norm = -1}},
               {"clip_norm", {.clip_norm = nan}},
               {"spike_factor", {.spike_factor = -2}},
               {"average", {.average = 1.5}},
               {"patience", {.patience = 0}}};
  for (const auto& [field, options] : cases) {
    INFO(field);
    CHECK(message_of<Error>([&] { TrainerIn<Single>(capacity, options); }).find(field) != std::string::npos);
  }
}

/// Allocations of three steps, of two batches each.
template <class Trainer>
long allocations_of_steps(int threads, const TrainerOptions& options = {}) {
  Trainer trainer(capacity, options, {}, {.threads = threads});
  const SomeBatch a(1), b(2);
  const TokenBatch batches[] = {a, b};
  const long before = allocations;
  for (int step = 0; step < 3; ++step) trainer.step(batches, 1e-3);
  return allocations - before;
}

TEST_CASE("a training step allocates nothing", "[trainer]") {
  if (!allocations_are_counted) SKIP("sanitizers bring their own malloc");
  const long before = allocations;
  const int* volatile some = new int;  // volatile, or compilers leave it out
  const long one = allocations - before;
  delete some;
  REQUIRE(one == 1);

  using Recomputing = LanguageModel<
      Vocabulary<vocabulary>, ContextLength<context>,
      Repeat<depth, Sequence<Residual<PreNorm, Attention<width, 2>>, Residual<PreNorm, FeedForward<width, 32>>>,
             RecomputeSqrt>>;
  TrainerOptions everything;
  everything.dropout = {.embedding = 0.1, .attention = 0.1, .activation = 0.1, .residual = 0.1};
  everything.average = 0.9;
  for (const int threads : {1, 2}) {
    CHECK(allocations_of_steps<TrainerIn<Single>>(threads) == 0);
    CHECK(allocations_of_steps<TrainerIn<Single>>(threads, everything) == 0);
    CHECK(allocations_of_steps<TrainerIn<Mixed>>(threads, everything) == 0);
    CHECK(allocations_of_steps<Trainer<Recomputing, Cpu<>, Adafactor>>(threads, everything) == 0);
    CHECK(allocations_of_steps<Trainer<SmallModel, Cpu<Single, cpu::EigenMatmul>, Lion>>(threads) == 0);
  }
}

TEST_CASE("a batch that does not fit is refused", "[trainer]") {
  TrainerIn<Single> trainer(capacity, {}, {}, {.threads = 1});
  SomeBatch batch(1);
  batch.tokens[3] = vocabulary;
  CHECK(message_of<ShapeError>([&] { trainer.step(batch); }).find("row 3") != std::string::npos);
  CHECK(!message_of<ShapeError>([&] { trainer.step(SomeBatch(1, 2)); }).empty());
  const auto refused = [](const Capacity& none, const std::string& part) {
    CAPTURE(text_of(none));
    CHECK(message_of<ShapeError>([&] { TrainerIn<Single>(none, {}); }).find(part) != std::string::npos);
    CHECK(!message_of<ShapeError>([&] { training_memory<SmallModel, Cpu<Single>, AdamW>(none); }).empty());
  };
  refused({}, "Trainer: a capacity of 0 rows");
  refused({8, 4, 32}, "8 rows, 4 sequences, longest 32");
  refused({-32, 1, 32}, "-32 rows");
  CHECK(message_of<ShapeError>([&] { TrainerIn<Single>({26, 2, 13}, {}); }).find("context of 12") != std::string::npos);
  CHECK(message_of<ShapeError>([&] {
          TrainerIn<Single>({.rows = 24, .sequences = 2, .longest = 12, .forward_only = true}, {});
        }).find("forward_only") != std::string::npos);
  CHECK(message_of<Error>([&] { trainer.step(std::span<const TokenBatch>(), 1e-3); }).find("batches") !=
        std::string::npos);
  CHECK(trainer.counters().step == 0);
}

}  // namespace trainer_test
