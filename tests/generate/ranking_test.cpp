// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <fathom/core/random.hpp>
#include <fathom/generate/ranking.hpp>
#include <limits>
#include <numeric>
#include <span>
#include <support/temporary_directory.hpp>
#include <vector>

using namespace fathom;
using namespace fathom_test;

namespace {
constexpr float infinity = std::numeric_limits<float>::infinity();
}

TEST_CASE("the logarithm of a sum of exponentials", "[generate]") {
  const std::vector<float> values{-3, 100, 99, -infinity, 100};
  CHECK(std::abs(log_sum_exp(std::span<const float>(values)) - (100 + std::log(2 + std::exp(-1.0)))) <= 1e-6);
  for (const auto& bad : {std::vector{1.0f, NAN}, std::vector{NAN, 1.0f}, std::vector{infinity, 0.0f},
                          std::vector{-infinity, -infinity}})
    CHECK_FALSE(message_of<Error>([&] { log_sum_exp(std::span<const float>(bad)); }).empty());
}

TEST_CASE("a ranking is the head of a stable sort, without what is minus infinity", "[generate]") {
  const int most = GENERATE(1, 2, 7, 40);
  Ranking ranking(most);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Philox random(Key{seed});
    std::vector<float> values;
    for (std::uint64_t i = 0; i < 30; ++i) values.push_back(float(below(9, low_bits(random(i)))));  // many equal ones
    for (float& value : values)
      if (value == 8) value = -infinity;
    std::vector<int> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::erase_if(order, [&](int i) { return values[std::size_t(i)] == -infinity; });
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return values[std::size_t(a)] > values[std::size_t(b)]; });
    order.resize(std::min(order.size(), std::size_t(most)));
    const auto places = ranking(std::span<const float>(values));
    REQUIRE(places.size() == order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      CHECK(places[i].index == order[i]);
      CHECK(places[i].value == double(values[std::size_t(order[i])]));
    }
  }
}
