// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/core/dropout.hpp>

namespace dropout_test {

using namespace fathom;

constexpr Dropout at_rate(double rate) { return {rate, Key{0}}; }

// Rates are multiples of 2^-16, to the nearest; what is kept is scaled by the rate that is in effect.
static_assert(at_rate(0.5).threshold() == 32768 && at_rate(0.1).threshold() == 6554);
static_assert(at_rate(0.75 / 65536).threshold() == 1 && at_rate(0.25 / 65536).threshold() == 0);
static_assert(at_rate(0.5).scale() == 2 && at_rate(0.75).scale() == 4);
static_assert(at_rate(0.1).scale() == 1 / (1 - 6554 / 65536.0) && at_rate(0.1).scale() != 1 / (1 - 0.1));

// Without a rate nothing happens.
static_assert(!Dropout{}.active() && at_rate(0.1).active() && Dropout{}.scale() == 1);
static_assert(std::ranges::equal(Dropout{}.factors<double>(1, 2, 3, 4), std::array{1, 1, 1, 1, 1, 1, 1, 1}));
constexpr DropoutRates none;
static_assert(none.embedding == 0 && none.attention == 0 && none.activation == 0 && none.residual == 0);

// By hand, from Random123's known answer for key and counter 0, 6627e8d5 e169c58d bc57ac4c 9b00dbd8: the low half of a
// word is the even column. Three quarters are dropped, which are the numbers below c000.
static_assert(std::ranges::equal(at_rate(0.75).factors<float>(0, 0, 0, 0), std::array{4, 0, 4, 4, 0, 0, 4, 0}));
// A number is dropped below the threshold, not at it.
constexpr Dropout at = at_rate(0x6627 / 65536.0), above = at_rate(0x6628 / 65536.0);
static_assert(at.factors<double>(0, 0, 0, 0)[1] == at.scale() && above.factors<double>(0, 0, 0, 0)[1] == 0);

TEST_CASE("whether an element is kept follows from its indices as documented", "[core]") {
  for (const double rate : {0.1, 0.5, 0.9}) {
    const Dropout dropout{rate, Key{3}.child("site")};
    for (int sequence : {0, 5, 70'000})
      for (int head : {0, 1, 31})
        for (int row : {0, 2, 100'000})
          for (int column = 0; column < 40; ++column) {
            const auto words =
                Philox(dropout.key)({unsigned(column) / 8, unsigned(row), unsigned(sequence), unsigned(head)});
            const std::uint32_t word = words[std::size_t(column % 8 / 2)];
            const std::uint32_t number = column % 2 == 0 ? word % 65536 : word / 65536;
            const double expected = number < std::round(rate * 65536) ? 0 : dropout.scale();
            const auto place = std::size_t(column % 8);
            REQUIRE(dropout.factors<double>(sequence, head, row, column / 8)[place] == expected);
            REQUIRE(dropout.factors<float>(sequence, head, row, column / 8)[place] == float(expected));
          }
  }
}

TEST_CASE("each of the eight columns of a block is dropped at the rate, and the mean stays", "[core]") {
  constexpr int count = 50'000;
  for (const double rate : {0.1, 0.5, 0.9}) {
    const Dropout dropout{rate, Key{4}};
    std::array<int, Dropout::block> dropped{};
    double sum = 0;
    for (int row = 0; row < count; ++row) {
      const auto factors = dropout.factors<double>(row % 7, row % 3, row, row % 5);
      for (std::size_t i = 0; i < factors.size(); ++i) {
        dropped[i] += factors[i] == 0;
        sum += factors[i];
      }
    }
    INFO("rate " << rate);
    const double deviation = std::sqrt(rate * (1 - rate) / count);
    for (const int times : dropped) CHECK(std::abs(double(times) / count - rate) < 6 * deviation);
    CHECK(std::abs(sum / (8 * count) - 1) < 6 * deviation * dropout.scale() / std::sqrt(8));
  }
}

TEST_CASE("masks that differ in one index, in the key or in a neighbouring column are independent", "[core]") {
  constexpr double rate = 0.3;
  constexpr int count = 20'000;
  const Dropout dropout{rate, Key{5}}, other{rate, Key{5}.child(1)};
  std::array<int, 6> both{};
  for (int row = 0; row < count; ++row) {
    const auto here = dropout.factors<float>(2, 3, 2 * row, 1);
    const std::array there = {dropout.factors<float>(3, 3, 2 * row, 1), dropout.factors<float>(2, 4, 2 * row, 1),
                              dropout.factors<float>(2, 3, 2 * row + 1, 1), dropout.factors<float>(2, 3, 2 * row, 2),
                              other.factors<float>(2, 3, 2 * row, 1)};
    for (std::size_t i = 0; i < 8; ++i) {
      for (std::size_t pair = 0; pair < there.size(); ++pair) both[pair] += here[i] == 0 && there[pair][i] == 0;
      both[5] += here[i] == 0 && here[(i + 1) % 8] == 0;
    }
  }
  for (const int times : both) CHECK(std::abs(times / (8.0 * count) - rate * rate) < 0.006);  // over six deviations
}

}  // namespace dropout_test
