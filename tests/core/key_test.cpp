// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <fathom/core/key.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace key_test {

using namespace fathom;
using namespace std::string_view_literals;

// The first number that SplitMix64 draws from the seed 0 is 0xe220…cdaf, the finalizer of 0x9e37…7c15; that of 0 is 0.
static_assert(Key{0xe220a8397b1dcdaf}.child(0) == Key{0});

// Masks and samples of a resumed run follow from keys: they have to be the same bits in every version.
static_assert(Key{0}.child(0) == Key{0x48218226ff3cd4bf});
static_assert(Key{0x0123456789abcdef}.child(0xfedcba9876543210) == Key{0x729fab7ea7d788c6});

// A name counts as its FNV-1a hash (the published values of "a" and "foobar"), its bytes unsigned wherever one is.
static_assert(Key{5}.child("a") == Key{5}.child(0xaf63dc4c8601ec8c));
static_assert(Key{5}.child("foobar") == Key{5}.child(0x85944171f73967e8));
static_assert(Key{5}.child("\xff") == Key{5}.child(0xaf64724c8602eb6e));

// Equal paths, equal keys. Everything that differs on a path makes another key.
constexpr Key root{42};
static_assert(root.child("blocks").child(3).child("norm") == root.child("blocks"sv).child(3).child("norm"sv));
static_assert(root.child("a").child("b") != root.child("b").child("a"));
static_assert(root.child(1).child(2) != root.child(2).child(1));
static_assert(root.child("1") != root.child(1));
static_assert(root.child("ab") != root.child("a").child("b"));
static_assert(root.child("a\0b"sv) != root.child("a"));
static_assert(root.child("") != root && root.child(0) != root && root.child("") != root.child(0));
static_assert(root.child(7) != Key{43}.child(7) && root != Key{43});

TEST_CASE("no two places of a run share a key", "[core]") {
  std::vector<std::uint64_t> keys;
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (std::uint64_t step = 0; step < 50; ++step)
      for (std::uint64_t block = 0; block < 100; ++block)
        for (const char* const site : {"attention", "activation", "residual", "embedding", ""})
          keys.push_back(Key{seed}.child(step).child("blocks").child(block).child(site).value);
  std::ranges::sort(keys);
  CHECK(std::ranges::adjacent_find(keys) == keys.end());
}

TEST_CASE("one bit of a key or of a word changes half the bits of the child", "[core]") {
  double by_key = 0, by_word = 0;
  constexpr int count = 200;
  for (std::uint64_t i = 0; i < count; ++i)
    for (int bit = 0; bit < 64; ++bit) {
      const std::uint64_t value = root.child(i).value, flipped = value ^ std::uint64_t{1} << bit;
      by_key += std::popcount(Key{value}.child(i).value ^ Key{flipped}.child(i).value);
      by_word += std::popcount(root.child(value).value ^ root.child(flipped).value);
    }
  CHECK(std::abs(by_key / (count * 64) - 32) < 0.25);  // seven standard deviations
  CHECK(std::abs(by_word / (count * 64) - 32) < 0.25);
}

}  // namespace key_test
