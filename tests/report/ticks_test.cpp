// SPDX-License-Identifier: Apache-2.0
#include <fathom/report/ticks.hpp>

#include <catch2/catch_test_macros.hpp>
#include <random>

namespace ticks_test {

using fathom::linear_ticks;
using fathom::log_ticks;
using fathom::Tick;

/// The labels, separated by spaces.
std::string labels(const std::vector<Tick>& ticks) {
  std::string text;
  for (const auto& tick : ticks) text += (text.empty() ? "" : " ") + tick.label;
  return text;
}

TEST_CASE("linear marks are multiples of 1, 2 or 5 times a power of ten", "[ticks]") {
  CHECK(labels(linear_ticks(0, 10, 6)) == "0 2 4 6 8 10");
  CHECK(labels(linear_ticks(0, 10, 11)) == "0 1 2 3 4 5 6 7 8 9 10");
  CHECK(labels(linear_ticks(1.7, 5.6, 9)) == "2.0 2.5 3.0 3.5 4.0 4.5 5.0 5.5");
  CHECK(labels(linear_ticks(-1, 1, 5)) == "-1.0 -0.5 0 0.5 1.0");
  CHECK(labels(linear_ticks(2.300, 2.321, 6)) == "2.300 2.305 2.310 2.315 2.320");
  CHECK(labels(linear_ticks(1, 4'000, 9)) == "500 1000 1500 2000 2500 3000 3500 4000");
  CHECK(labels(linear_ticks(1, 20'000, 9)) == "5k 10k 15k 20k");
  CHECK(labels(linear_ticks(0, 1'000'000, 6)) == "0 0.2M 0.4M 0.6M 0.8M 1.0M");
  CHECK(labels(linear_ticks(0, 2.5e6, 6)) == "0 0.5M 1.0M 1.5M 2.0M 2.5M");
  CHECK(labels(linear_ticks(0, 3e-4, 4)) == "0 1.0e-04 2.0e-04 3.0e-04");
}

TEST_CASE("linear marks lie inside, are few, and are told apart by their labels", "[ticks]") {
  std::mt19937 random{1};
  std::uniform_real_distribution<double> exponent{-6, 9}, offset{-2, 2};
  for (int i = 0; i < 2'000; ++i) {
    const double length = std::pow(10.0, exponent(random)), low = length * offset(random), high = low + length;
    for (const int most : {2, 5, 9}) {
      const auto ticks = linear_ticks(low, high, most);
      INFO(low << " to " << high << ": " << labels(ticks));
      REQUIRE(ticks.size() >= static_cast<std::size_t>(most) / 3);
      REQUIRE(ticks.size() <= static_cast<std::size_t>(most));
      for (std::size_t k = 0; k < ticks.size(); ++k) {
        REQUIRE(ticks[k].value >= low - 1e-8 * length);
        REQUIRE(ticks[k].value <= high + 1e-8 * length);
        if (k > 0 && length > 1e-2) REQUIRE(ticks[k].label != ticks[k - 1].label);
      }
    }
  }
}

TEST_CASE("marks of a range as narrow as one rounding are few", "[ticks]") {
  for (const double low : {3.0, -3.0, 1e300, 1e-300}) {
    const double high = std::nextafter(low, 1e308);
    CHECK(linear_ticks(low, high, 9).size() <= 9);
    if (low > 0) CHECK(log_ticks(low, high, 9).size() <= 9);
  }
}

TEST_CASE("logarithmic marks are powers of ten, with company where few fit", "[ticks]") {
  CHECK(labels(log_ticks(0.01, 100, 9)) == "0.01 0.1 1 10 100");
  CHECK(labels(log_ticks(0.008, 120, 9)) == "0.01 0.1 1 10 100");
  CHECK(labels(log_ticks(1e-7, 1e-3, 9)) == "10⁻⁷ 10⁻⁶ 10⁻⁵ 10⁻⁴ 10⁻³");
  CHECK(labels(log_ticks(1, 1e12, 5)) == "10⁰ 10³ 10⁶ 10⁹ 10¹²");
  CHECK(labels(log_ticks(1, 30, 9)) == "1 2 5 10 20");
  CHECK(labels(log_ticks(1.5, 6, 9)) == labels(linear_ticks(1.5, 6, 9)));  // 2 and 5 alone would be too few
  CHECK(labels(log_ticks(0.15, 3, 9)) == "0.2 0.5 1 2");
  for (const auto& tick : log_ticks(1e-9, 1e9, 7)) CHECK((tick.value >= 0.9e-9 && tick.value <= 1.1e9));
}

}  // namespace ticks_test
