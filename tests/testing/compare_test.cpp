// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/testing/compare.hpp>
#include <limits>

namespace compare_test {

using namespace fathom;
using testing::compare;
using testing::relative_error;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

TEST_CASE("errors are relative above the floor and absolute below it", "[testing]") {
  REQUIRE(relative_error(100, 101, 1) == 1 / 101.0);
  REQUIRE(relative_error(-101, -100, 1) == 1 / 101.0);
  REQUIRE(relative_error(1e-9, -1e-9, 1e-3) == 2e-9 / 1e-3);
  REQUIRE(relative_error(0, 0, 0) == 0);
}

TEST_CASE("what is not finite equals only itself", "[testing]") {
  REQUIRE(relative_error(nan, nan, 1) == 0);
  REQUIRE(relative_error(infinity, infinity, 1) == 0);
  REQUIRE(relative_error(infinity, -infinity, 1) == infinity);
  REQUIRE(relative_error(nan, 0, 1) == infinity);
  REQUIRE(relative_error(0, nan, 1) == infinity);
  REQUIRE(relative_error(infinity, 1e300, 1) == infinity);
}

TEST_CASE("comparing matrices finds the worst element, whatever the strides", "[testing]") {
  const double a[] = {1, 2, -1, 3, 4.5, -1}, b[] = {1, 2.5, 3, 4};
  const auto worst = compare(Matrix<const double>(a, 2, 2, 3), Matrix<const double>(b, 2, 2), 1.0);
  REQUIRE(worst.error == 0.5 / 2.5);
  REQUIRE(worst.row == 0);
  REQUIRE(worst.column == 1);
  REQUIRE(worst.actual == 2);
  REQUIRE(worst.expected == 2.5);
  REQUIRE_THROWS_AS(compare(Matrix<const double>(a, 2, 2), Matrix<const double>(b, 1, 2), 1.0), ShapeError);
}

TEST_CASE("comparing spans wants equal sizes", "[testing]") {
  const float a[] = {1, 2, 3};
  const double b[] = {1, 2, 4};
  REQUIRE(compare(std::span(a), std::span(b), 1.0).column == 2);
  REQUIRE_THROWS_AS(compare(std::span(a), std::span(b).first(2), 1.0), ShapeError);
}

}  // namespace compare_test
