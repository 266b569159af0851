// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/optim/average.hpp>
#include <vector>

using namespace fathom;

namespace {

constexpr std::int64_t size = 200'003;

std::vector<double> snapshot(int number) {
  std::vector<double> weights(size);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = std::sin(0.001 * double(i) + number * number);
  return weights;
}

/// The weights of `count` snapshots in their average: what one element is when snapshot k is the k-th unit vector.
std::vector<double> shares(int count, double decay) {
  std::vector<double> result(std::size_t(count), 0.0);
  for (int n = 1; n <= count; ++n) {
    const double d = std::min(decay, 1 - 1.0 / n);
    for (double& share : result) share *= d;
    result[std::size_t(n - 1)] += 1 - d;
  }
  return result;
}

}  // namespace

TEMPLATE_TEST_CASE("an average weighs its snapshots as it says", "[optim]", Ref<double>, Cpu<Double>) {
  Context<TestType> context;
  for (const double decay : {1.0, 0.75, 0.0}) {
    WeightAverage<Double> average(size, decay);
    const int count = 9;
    for (int n = 0; n < count; ++n) average.add(context, std::span<const double>(snapshot(n)));
    CHECK(average.count() == count);
    const std::vector<double> share = shares(count, decay);
    if (decay == 1) CHECK(std::abs(share.front() - 1.0 / count) < 1e-15);
    std::vector<double> expected(size, 0.0);
    for (int n = 0; n < count; ++n) {
      const std::vector<double> weights = snapshot(n);
      for (std::size_t i = 0; i < weights.size(); ++i) expected[i] += share[std::size_t(n)] * weights[i];
    }
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
      worst = std::max(worst, std::abs(average.flat()[i] - expected[i]));
    CHECK(worst < 1e-14);
  }
}

TEST_CASE("an average has equal bits for any number of threads", "[optim][threads]") {
  const auto average_with = [](int threads) {
    Context<Cpu<Double>> context({.threads = threads});
    WeightAverage<Double> average(size, 0.9);
    for (int n = 0; n < 4; ++n) average.add(context, std::span<const double>(snapshot(n)));
    return std::vector<double>(average.flat().begin(), average.flat().end());
  };
  CHECK(average_with(3) == average_with(1));
}

TEST_CASE("weights and their average change places for a while", "[optim]") {
  Context<Ref<double>> context;
  WeightAverage<Double> average(2, 1);
  const std::vector<double> first = {1, 10};
  std::vector<double> weights = {3, 30};
  CHECK_THROWS_WITH(average.exchange_with(weights),
                    "WeightAverage: no snapshot has been added yet, so there is no average");
  average.add(context, std::span<const double>(first));
  average.add(context, std::span<const double>(weights));
  {
    const auto exchange = average.exchange_with(weights);
    CHECK(weights == std::vector<double>{2, 20});
  }
  CHECK(weights == std::vector<double>{3, 30});
  CHECK(average.flat()[1] == 20);

  average.clear();
  average.add(context, std::span<const double>(first));
  CHECK(average.flat()[1] == 10);
}

TEST_CASE("an average refuses what does not fit", "[optim]") {
  Context<Ref<double>> context;
  WeightAverage<Double> average(2, 1);
  const std::vector<double> three(3);
  CHECK_THROWS_AS(average.add(context, std::span<const double>(three)), ShapeError);
  CHECK_THROWS_WITH(WeightAverage<Double>(2, 1.5),
                    "WeightAverage: decay must be in [0, 1], 1 for the mean of all snapshots");
}
