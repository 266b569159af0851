// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/optim/schedule.hpp>
#include <fathom/train/run.hpp>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/temporary_directory.hpp"
#include "train/batch_stream.hpp"

namespace run_test {

using namespace fathom_test;

using SmallTrainer = Trainer<SmallModel, Cpu<Single>, AdamW>;

SmallTrainer make(const TrainerOptions& options = {.seed = 3}) {
  return SmallTrainer(SomeBatches::capacity, options, {}, {.threads = 1});
}
std::vector<float> weights_of(SmallTrainer& trainer) { return values_of(trainer.weights().flat()); }

/// A metric that is one value after another.
auto values(std::vector<double> list) {
  return [list, at = std::size_t(0)]() mutable { return list.at(at++); };
}
/// The updates of a run of 10 that is validated at every second, with the values of its metric and its bests.
struct Seen {
  std::vector<std::int64_t> steps, validated, best;
  BestValidation at_end;
};
Seen run_with(Validation validation, const BestValidation& before = {}) {
  SmallTrainer trainer = make();
  SomeBatches batches;
  validation.every = 2;
  TrainingRun run(trainer, batches, {.steps = 10, .validation = std::move(validation)}, before);
  Seen seen;
  for (const RunReport& report : run) {
    seen.steps.push_back(report.step);
    if (report.metric) seen.validated.push_back(report.step);
    if (report.is_best) seen.best.push_back(report.step);
    CHECK(report.is_last == (report.step == 10 || run.out_of_patience()));
  }
  seen.at_end = run.best();
  return seen;
}

struct NoPosition {
  TokenBatch next();
};
struct NoBatches {
  int next();
  std::uint64_t cursor() const;
};
struct PositionInWords : SomeBatches {
  std::string cursor() const;
};
static_assert(BatchSource<SomeBatches>);
static_assert(!BatchSource<const SomeBatches> && !BatchSource<NoPosition> && !BatchSource<NoBatches>);
static_assert(!BatchSource<PositionInWords> && !BatchSource<TokenBatch> && !BatchSource<int>);

TEST_CASE("a run makes the updates that its steps, rates and batches say", "[run]") {
  SmallTrainer by_hand = make(), by_run = make();
  SomeBatches one, other;
  const Cosine schedule({.peak = 1e-2, .total_steps = 5, .warmup_steps = 2});
  std::vector<double> losses;
  for (int step = 1; step <= 5; ++step) losses.push_back(by_hand.step(one.next(), schedule(step)).loss);
  std::size_t count = 0;
  for (const RunReport& report : TrainingRun(by_run, other, {.steps = 5, .learning_rate = schedule})) {
    REQUIRE(count < 5);
    CHECK(report.loss == losses[count]);
    CHECK(report.step == std::int64_t(++count));
    CHECK(report.learning_rate == schedule(report.step));
    CHECK(!report.metric);
    CHECK(report.is_last == (count == 5));
  }
  CHECK(count == 5);
  CHECK(weights_of(by_hand) == weights_of(by_run));
  for (const RunReport& report : TrainingRun(by_run, other, {.steps = 5})) FAIL("update " << report.step << " of 5");
}

TEST_CASE("batches are accumulated as if they were given at once", "[run]") {
  SmallTrainer by_hand = make(), by_run = make();
  SomeBatches batches;
  for (std::uint64_t step = 0; step < 3; ++step) {
    const SomeBatch a(2 * step), b(2 * step + 1);
    const TokenBatch both[] = {a, b};
    by_hand.step(both, 1e-3);
  }
  for (const RunReport& report : TrainingRun(by_run, batches, {.steps = 3, .accumulate = 2}))
    CHECK(report.tokens == 2 * SomeBatches::capacity.rows);
  CHECK(batches.cursor() == 6);
  CHECK(weights_of(by_hand) == weights_of(by_run));
}

TEST_CASE("a run ends when the best validation is long ago", "[run]") {
  const Seen lower = run_with({.metric = values({3, 2, 2, 2.5, 1}), .patience = 2});
  CHECK(lower.steps.size() == 8);
  CHECK(lower.validated == std::vector<std::int64_t>{2, 4, 6, 8});
  CHECK(lower.best == std::vector<std::int64_t>{2, 4});
  CHECK(lower.at_end == BestValidation{.step = 4, .metric = 2, .since = 2});

  const Seen higher = run_with({.metric = values({0.5, 0.7, 0.6, 0.8, 0.1}), .higher_is_better = true, .patience = 2});
  CHECK(higher.steps.size() == 10);
  CHECK(higher.best == std::vector<std::int64_t>{2, 4, 8});
  CHECK(higher.at_end == BestValidation{.step = 8, .metric = 0.8, .since = 1});

  const Seen endless = run_with({.metric = values({1, 2, 3, 4, 5})});
  CHECK(endless.steps.size() == 10);
  CHECK(endless.best == std::vector<std::int64_t>{2});
}

TEST_CASE("a validation that is not finite is no best", "[run]") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  const Seen seen = run_with({.metric = values({nan, infinity, 2, -infinity, nan}), .patience = 3});
  CHECK(seen.best == std::vector<std::int64_t>{6});
  CHECK(run_with({.metric = values({nan, nan, nan}), .patience = 3}).steps.size() == 6);
}

TEST_CASE("early stopping counts on from what a run is resumed with", "[run]") {
  const BestValidation before{.step = 40, .metric = 1, .since = 1};
  const Seen seen = run_with({.metric = values({2, 3}), .patience = 3}, before);
  CHECK(seen.best.empty());
  CHECK(seen.steps.size() == 4);
  CHECK(run_with({.metric = values({}), .patience = 1}, before).steps.empty());
}

TEST_CASE("the last update is validated, whatever its number", "[run]") {
  SmallTrainer trainer = make();
  SomeBatches batches;
  std::vector<std::int64_t> validated;
  for (const RunReport& report :
       TrainingRun(trainer, batches, {.steps = 5, .validation = {.every = 3, .metric = [] { return 1.0; }}}))
    if (report.metric) validated.push_back(report.step);
  CHECK(validated == std::vector<std::int64_t>{3, 5});
}

TEST_CASE("the body of the loop can end the run", "[run]") {
  SmallTrainer trainer = make();
  SomeBatches batches;
  TrainingRun run(trainer, batches, {.steps = 10});
  for (const RunReport& report : run) {
    CHECK(!report.is_last);
    if (report.step == 3) run.stop();
    CHECK(report.is_last == (report.step == 3));
  }
  CHECK(trainer.counters().step == 3);
  CHECK(batches.cursor() == 3);
}

TEST_CASE("a validation that is stopped ends the run, and the next one begins with it, to the same reports", "[run]") {
  // A metric of the weights; it is stopped the first time at step 4, the first two times at 10, the last step.
  const auto run_it = [](SmallTrainer& trainer, SomeBatches& batches, std::vector<std::int64_t> stops) {
    std::vector<RunReport> reports;
    BestValidation best;
    std::optional<StepReport> unvalidated;
    for (int runs = 0; runs < 5; ++runs) {
      const auto metric = [&]() -> std::optional<double> {
        if (!stops.empty() && stops.front() == trainer.counters().step) {
          stops.erase(stops.begin());
          return std::nullopt;
        }
        return trainer.evaluate(SomeBatch(99)).mean();
      };
      TrainingRun run(trainer, batches, {.steps = 10, .validation = {.every = 2, .metric = metric}}, best, unvalidated);
      for (const RunReport& report : run) {
        CHECK(!run.unvalidated());
        reports.push_back(report);
      }
      best = run.best(), unvalidated = run.unvalidated();
      CHECK(run.step() == std::int64_t(reports.size()) + (unvalidated ? 1 : 0));
    }
    CHECK(stops.empty());
    CHECK(!unvalidated);
    return std::pair(reports, best);
  };
  SmallTrainer stopped = make(), undisturbed = make();
  SomeBatches one, other;
  const auto [found, found_best] = run_it(stopped, one, {4, 10, 10});
  const auto [expected, best] = run_it(undisturbed, other, {});
  CHECK(found_best == best);
  CHECK(one.cursor() == other.cursor());
  CHECK(weights_of(stopped) == weights_of(undisturbed));
  REQUIRE(found.size() == 10);
  REQUIRE(expected.size() == 10);
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(found[i].step == expected[i].step);
    CHECK(found[i].loss == expected[i].loss);
    CHECK(found[i].gradient_norm == expected[i].gradient_norm);
    CHECK(found[i].metric == expected[i].metric);
    CHECK(found[i].metric.has_value() == (i % 2 == 1));
    CHECK((found[i].is_best == expected[i].is_best && found[i].is_last == expected[i].is_last));
  }
}

TEST_CASE("a validation that fails is still to be made", "[run]") {
  SmallTrainer trainer = make();
  SomeBatches batches;
  const auto failing = []() -> double { throw Error("no metric"); };
  TrainingRun run(trainer, batches, {.steps = 10, .validation = {.every = 2, .metric = failing}});
  CHECK(message_of<Error>([&] {
          for (const RunReport& report : run) CHECK(report.step == 1);
        }) == "no metric");
  CHECK(run.report().step == 1);
  REQUIRE(run.unvalidated());
  CHECK(run.unvalidated()->step == 2);
}

TEST_CASE("an average of the weights is what is evaluated", "[run]") {
  SmallTrainer averaging = make({.seed = 3, .average = 0.5}), plain = make();
  SomeBatches one, other;
  const SomeBatch judge(99);
  CHECK(averaging.evaluate(judge).mean() == plain.evaluate(judge).mean());
  std::vector<float> expected(std::size_t(plain.weights().flat().size()));
  TrainingRun first(plain, one, {.steps = 3});
  for (const RunReport& report : first) {
    const float kept = float(std::min(0.5, double(report.step - 1) / double(report.step)));
    const std::vector<float> flat = weights_of(plain);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = kept * expected[i] + (1 - kept) * flat[i];
  }
  for (const RunReport& report : TrainingRun(averaging, other, {.steps = 3})) CHECK(report.skipped.empty());
  CHECK(weights_of(averaging) == weights_of(plain));
  const double last = plain.evaluate(judge).mean();
  plain.weights().flat().upload(0, expected);
  const double average = plain.evaluate(judge).mean();
  CHECK(std::abs(averaging.evaluate(judge).mean() - average) < 1e-5);
  CHECK(std::abs(last - average) > 1e-4);
}

TEST_CASE("options without sense are refused", "[run]") {
  SmallTrainer trainer = make();
  SomeBatches batches;
  const auto message = [&](RunOptions options) {
    return message_of<Error>([&] { TrainingRun(trainer, batches, std::move(options)); });
  };
  CHECK(message({.steps = -1}).find("steps") != std::string::npos);
  CHECK(message({.accumulate = 0}).find("accumulate") != std::string::npos);
  CHECK(message({.validation = {.metric = [] { return 1.0; }}}).find("every") != std::string::npos);
  CHECK(message({.validation = {.patience = 2}}).find("metric") != std::string::npos);
  CHECK(message({.validation = {.patience = -1}}).find("patience") != std::string::npos);
  const auto with_unvalidated = [&](RunOptions options, std::int64_t step) {
    return message_of<Error>([&] { TrainingRun(trainer, batches, std::move(options), {}, StepReport{.step = step}); });
  };
  CHECK(with_unvalidated({}, 0).find("needs a metric") != std::string::npos);
  CHECK(with_unvalidated({.validation = {.every = 1, .metric = [] { return 1.0; }}}, 3).find("last update") !=
        std::string::npos);
}

}  // namespace run_test
