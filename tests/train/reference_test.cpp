// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/testing/compare.hpp>

#include "train/models.hpp"

namespace reference_test {

using namespace fathom_test;

constexpr Capacity capacity{4 * context, 4, context};
const TrainerOptions options{
    .loss = {.smoothing = 0.1, .z_loss = 1e-4}, .dropout = {0.1, 0.1, 0.1, 0.1}, .clip_norm = 0.5, .average = 0.9};

template <class B, class Optimizer>
auto trained_for_50_steps() {
  Trainer<SmallModel, B, Optimizer> trainer(capacity, options);
  std::vector<StepReport> reports;
  for (std::uint64_t step = 0; step < 50; ++step) reports.push_back(trainer.step(SomeBatch(step % 5), 1e-2));
  struct Trained {
    std::vector<StepReport> reports;
    std::vector<double> weights, average;
    double evaluation;
  };
  return Trained{std::move(reports),
                 values_of(trainer.weights().flat()),
                 values_of(trainer.average()->flat()),
                 trainer.evaluate(SomeBatch(77)).mean()};
}

TEMPLATE_TEST_CASE("the reference trains, and the CPU as it does", "[trainer]", AdamW, Adafactor) {
  const auto reference = trained_for_50_steps<Ref<double>, TestType>();
  const auto actual = trained_for_50_steps<Cpu<Double>, TestType>();
  REQUIRE(reference.reports.back().loss < reference.reports.front().loss - 0.5);
  for (std::size_t step = 0; step < reference.reports.size(); ++step) {
    INFO("step " << step + 1);
    CHECK(actual.reports[step].skipped == reference.reports[step].skipped);
    CHECK(testing::relative_error(actual.reports[step].loss, reference.reports[step].loss, 1.0) < 1e-9);
    CHECK(testing::relative_error(actual.reports[step].gradient_norm, reference.reports[step].gradient_norm, 1.0) <
          1e-8);
  }
  CHECK(testing::compare(std::span(actual.weights), std::span(reference.weights), 1).error < 1e-6);
  CHECK(testing::compare(std::span(actual.average), std::span(reference.average), 1).error < 1e-6);
  CHECK(testing::relative_error(actual.evaluation, reference.evaluation, 1.0) < 1e-9);
}

}  // namespace reference_test
