// SPDX-License-Identifier: Apache-2.0
#include <fathom/core/root.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <random>

namespace root_test {

static_assert(fathom::square_root(1) == 1 && fathom::square_root(4) == 2 && fathom::square_root(0.25) == 0.5);
static_assert(fathom::fourth_root(16) == 2 && fathom::fourth_root(1e-4) == 0.1);

TEST_CASE("constexpr roots are the library's, to a unit in the last place", "[root]") {
  std::mt19937_64 random{1};
  std::uniform_real_distribution<double> exponent{-30, 31};
  const auto ulps = [](double value, double expected) {
    return std::abs(value - expected) / (std::numeric_limits<double>::epsilon() * expected);
  };
  for (int i = 0; i < 20'000; ++i) {
    const double x = std::pow(10.0, exponent(random));
    REQUIRE(ulps(fathom::square_root(x), std::sqrt(x)) <= 1);
    REQUIRE(ulps(fathom::fourth_root(x), std::pow(x, 0.25)) <= 2);
    REQUIRE(ulps(fathom::sixth_root(x), std::cbrt(std::sqrt(x))) <= 4);
  }
}

}  // namespace root_test
