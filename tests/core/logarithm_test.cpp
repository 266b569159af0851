// SPDX-License-Identifier: Apache-2.0
#include <fathom/core/logarithm.hpp>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <random>

namespace logarithm_test {

static_assert(fathom::logarithm(1) == 0);

TEST_CASE("the constexpr logarithm is the library's, to a few units in the last place", "[root]") {
  std::mt19937_64 random{1};
  std::uniform_real_distribution<double> exponent{-30, 31};
  for (int i = 0; i < 20'000; ++i) {
    const double x = i < 10'000 ? std::pow(10.0, exponent(random)) : 1 + i / 10'000.0;
    const double expected = std::log(x);
    REQUIRE(std::abs(fathom::logarithm(x) - expected) <=
            4 * std::numeric_limits<double>::epsilon() * std::max(0.1, std::abs(expected)));
  }
}

}  // namespace logarithm_test
