// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <fathom/io/checksum.hpp>
#include <set>
#include <string>

namespace checksum_test {

using namespace fathom;

std::uint64_t checksum(std::string_view text) {
  Checksum sum;
  sum.add(text);
  return sum.value();
}

TEST_CASE("a checksum does not depend on how the bytes are cut", "[checksum]") {
  const std::string text = "the quick brown fox jumps over the lazy dog";
  for (std::size_t first = 0; first <= text.size(); ++first) {
    for (std::size_t second = first; second <= text.size(); ++second) {
      Checksum sum;
      sum.add(std::string_view(text).substr(0, first));
      sum.add(std::string_view(text).substr(first, second - first));
      sum.add(std::string_view(text).substr(second));
      REQUIRE(sum.value() == checksum(text));
    }
  }
}

TEST_CASE("a checksum sees flipped bits, up to three flipped signs, and the length", "[checksum]") {
  const std::string text(64, 'x');
  std::set<std::uint64_t> sums;
  std::size_t variants = 0;
  const auto add = [&](const std::string& variant) {
    sums.insert(checksum(variant));
    ++variants;
  };
  for (std::size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    if (bit % 32 != 31) add(damaged);  // the others are the signs of floats
  }
  constexpr std::size_t floats = 16;
  for (std::uint32_t signs = 0; signs < 1u << floats; ++signs) {
    if (std::popcount(signs) > 3) continue;
    std::string damaged = text;
    for (std::size_t i = 0; i < floats; ++i) damaged[4 * i + 3] = (signs >> i & 1) ? '\xf8' : 'x';
    add(damaged);
  }
  for (std::size_t length = 0; length < 40; ++length) add(std::string(length, '\0'));
  CHECK(sums.size() == variants);
}

}  // namespace checksum_test
