// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/optim/average.hpp>
#include <vector>

namespace average_test {

using namespace fathom;

constexpr std::int64_t size = 200'003;

std::vector<double> snapshot(int number) {
  std::vector<double> weights(size);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = std::sin(0.001 * double(i) + number * number);
  return weights;
}

/// Values in memory of backend B.
template <class B>
auto on(const std::vector<double>& values) {
  typename B::template Buffer<double> memory(std::ssize(values));
  memory.upload(0, values);
  return memory;
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

TEMPLATE_TEST_CASE("an average weighs its snapshots as it says", "[optim]", Ref<double>, Cpu<Double>) {
  Context<TestType> context;
  for (const double decay : {1.0, 0.75, 0.0}) {
    WeightAverage<TestType> average(size, decay);
    const int count = 9;
    for (int n = 0; n < count; ++n) average.add(context, on<TestType>(snapshot(n)));
    CHECK(average.count() == count);
    const std::vector<double> share = shares(count, decay);
    if (decay == 1) CHECK(std::abs(share.front() - 1.0 / count) < 1e-15);
    std::vector<double> expected(size, 0.0);
    for (int n = 0; n < count; ++n) {
      const std::vector<double> weights = snapshot(n);
      for (std::size_t i = 0; i < weights.size(); ++i) expected[i] += share[std::size_t(n)] * weights[i];
    }
    const std::vector<double> actual = values_of(average.flat());
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(actual[i] - expected[i]));
    CHECK(worst < 1e-14);
  }
}

TEST_CASE("an average has equal bits for any number of threads", "[optim][threads]") {
  const auto average_with = [](int threads) {
    Context<Cpu<Double>> context({.threads = threads});
    WeightAverage<Cpu<Double>> average(size, 0.9);
    for (int n = 0; n < 4; ++n) average.add(context, on<Cpu<Double>>(snapshot(n)));
    return values_of(average.flat());
  };
  CHECK(average_with(3) == average_with(1));
}

TEST_CASE("weights and their average change places for a while", "[optim]") {
  Context<Ref<double>> context;
  WeightAverage<Ref<double>> average(2, 1);
  const auto first = on<Ref<double>>({1, 10});
  auto weights = on<Ref<double>>({3, 30});
  CHECK_THROWS_WITH(average.exchange_with(weights),
                    "WeightAverage: no snapshot has been added yet, so there is no average");
  average.add(context, first);
  average.add(context, weights);
  {
    const auto exchange = average.exchange_with(weights);
    CHECK(values_of(weights) == std::vector<double>{2, 20});
  }
  CHECK(values_of(weights) == std::vector<double>{3, 30});
  CHECK(values_of(average.flat())[1] == 20);

  average.clear();
  average.add(context, first);
  CHECK(values_of(average.flat())[1] == 10);
}

TEST_CASE("an average refuses what does not fit", "[optim]") {
  Context<Ref<double>> context;
  WeightAverage<Ref<double>> average(2, 1);
  CHECK_THROWS_AS(average.add(context, on<Ref<double>>({1, 2, 3})), ShapeError);
  CHECK_THROWS_WITH(WeightAverage<Ref<double>>(2, 1.5),
                    "WeightAverage: decay must be in [0, 1], 1 for the mean of all snapshots");
}

}  // namespace average_test
