// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/core/random.hpp>
#include <set>
#include <vector>

namespace random_test {

using namespace fathom;

using Block = Philox::Block;

// The known answers that Random123 1.14 ships for philox4x32-10. The debug mode of libstdc++ 12 cannot compare arrays
// without a name by == in constant evaluation.
static_assert(std::ranges::equal(Philox{Key{0}}(Block{0, 0, 0, 0}),
                                 Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
static_assert(std::ranges::equal(Philox{Key{0xffffffffffffffff}}(Block{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
                                 Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
static_assert(std::ranges::equal(Philox{Key{0x299f31d0a4093822}}(Block{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
                                 Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));

static_assert(std::ranges::equal(Philox{Key{1}}(0x85a308d3243f6a88, 0x0370734413198a2e),
                                 Philox{Key{1}}(Block{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344})));

static_assert(uniform(std::uint32_t{0}) == 0.0f && uniform(~std::uint32_t{0}) == 1.0f - 0x1p-24f);
static_assert(uniform(std::uint64_t{0}) == 0.0 && uniform(~std::uint64_t{0}) == 1.0 - 0x1p-53);
static_assert(uniform_positive(0) == 0x1p-53 && uniform_positive(~std::uint64_t{0}) == 1.0);

static_assert(below(1, ~std::uint64_t{0}) == 0);
static_assert(below(7, 0) == 0 && below(7, ~std::uint64_t{0}) == 6);
static_assert(below(std::uint64_t{1} << 40, ~std::uint64_t{0}) == (std::uint64_t{1} << 40) - 1);
static_assert(below(0xfedcba9876543210, 0x0123456789abcdef) == 0x0121fa00ad77d742);  // high half of the 128-bit product
static_assert(below(~std::uint64_t{0}, ~std::uint64_t{0}) == ~std::uint64_t{0} - 1);

static_assert(Permutation{Key{3}, 1}(0) == 0);

TEST_CASE("uniform numbers have the moments of the uniform distribution", "[random]") {
  const Philox random{Key{7}};
  constexpr int count = 200'000;
  double sum = 0, squares = 0;
  for (int i = 0; i < count; ++i) {
    const double value = uniform(random(i)[i % 4]);
    sum += value;
    squares += value * value;
  }
  CHECK(std::abs(sum / count - 1.0 / 2) < 0.004);  // six standard deviations
  CHECK(std::abs(squares / count - 1.0 / 3) < 0.004);
}

TEST_CASE("below() hits every value equally often", "[random]") {
  const Philox random{Key{8}};
  constexpr int values = 10, count = 100'000;
  std::vector<int> hits(values);
  for (int i = 0; i < count; ++i) ++hits[below(values, low_bits(random(i)))];
  for (const int hit : hits) CHECK(std::abs(hit - count / values) < 600);  // over six standard deviations
}

TEST_CASE("normals have the moments of the normal distribution, and the two of a block do not correlate", "[random]") {
  const Philox random{Key{9}};
  constexpr int count = 200'000;
  double sum = 0, squares = 0, fourth = 0, products = 0;
  for (int i = 0; i < count; ++i) {
    const auto [a, b] = normals(random(i));
    sum += a + b;
    squares += a * a + b * b;
    fourth += a * a * a * a + b * b * b * b;
    products += a * b;
  }
  CHECK(std::abs(sum / (2 * count)) < 0.01);
  CHECK(std::abs(squares / (2 * count) - 1) < 0.015);
  CHECK(std::abs(fourth / (2 * count) - 3) < 0.1);
  CHECK(std::abs(products / count) < 0.015);
  CHECK(std::isfinite(normals(Block{0, 0, 0, 0})[0]));
}

TEST_CASE("a permutation visits everything once and depends on its key", "[random]") {
  for (const std::uint64_t count : {1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097}) {
    const Permutation first{Key{1}, count}, second{Key{2}, count};
    std::set<std::uint64_t> images;
    std::uint64_t equal = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      REQUIRE(first(i) < count);
      images.insert(first(i));
      equal += first(i) == second(i);
    }
    CHECK(images.size() == count);
    if (count >= 100) CHECK(equal < 10);  // one on average
  }
}

TEST_CASE("a permutation puts every item at every place equally often", "[random]") {
  constexpr int count = 6, keys = 12'000;
  int at[count][count] = {};
  for (int key = 0; key < keys; ++key) {
    const Permutation permutation{Key{static_cast<std::uint64_t>(key)}, count};
    for (int i = 0; i < count; ++i) ++at[i][permutation(i)];
  }
  for (const auto& row : at) {
    for (const int hits : row) CHECK(std::abs(hits - keys / count) < 260);  // over six standard deviations
  }
}

}  // namespace random_test
