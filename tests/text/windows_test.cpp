// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/text/windows.hpp>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <support/temporary_directory.hpp>
#include <utility>
#include <vector>

namespace windows_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using text::Order;
using text::Windows;

/// A text whose tokens are their places.
text::Corpus<int> places(int count) {
  text::Corpus<int> corpus;
  std::vector<int> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), 0);
  corpus.append(tokens);
  return corpus;
}

std::vector<int> tokens_of(const text::PackedTokens& batch) { return {batch.tokens().begin(), batch.tokens().end()}; }

/// First tokens of the windows, after a check that the rest follows from them.
std::vector<int> starts(const text::PackedTokens& batch) {
  std::vector<int> result;
  for (int sequence = 0; sequence < batch.sequences(); ++sequence) {
    const int first = batch.packing().offsets[sequence];
    result.push_back(batch.tokens()[first]);
    for (int i = 0; i < batch.packing().length(sequence); ++i) {
      REQUIRE(batch.tokens()[first + i] == result.back() + i);
      REQUIRE(batch.targets()[first + i] == result.back() + i + 1);
    }
  }
  return result;
}

TEST_CASE("random windows lie anywhere in the text", "[windows]") {
  const auto corpus = places(20);
  const Windows sampler(corpus, {.batch = 4, .length = 5, .order = Order::random, .seed = 3});
  text::PackedTokens batch(sampler.capacity());
  std::map<int, int> hits;
  for (std::uint64_t cursor = 0; cursor < 4000; ++cursor) {
    REQUIRE(sampler.fill(cursor, batch) == cursor + 1);
    CHECK(batch.rows() == 20);
    for (const int start : starts(batch)) ++hits[start];
  }
  CHECK(hits.size() == 15);  // 0, …, 14: the last window's last target is the last token
  CHECK(hits.begin()->first == 0);
  CHECK(hits.rbegin()->first == 14);
  for (const auto& [start, count] : hits) CHECK(std::abs(count - 16000 / 15) < 200);
}

TEST_CASE("a batch depends on seed and cursor alone", "[windows]") {
  const auto corpus = places(1000);
  for (const Order order : {Order::random, Order::shuffled, Order::sequential}) {
    const Windows one(corpus, {.batch = 4, .length = 16, .order = order, .seed = 1});
    const Windows same(corpus, {.batch = 4, .length = 16, .order = order, .seed = 1});
    const Windows other(corpus, {.batch = 4, .length = 16, .order = order, .seed = 2});
    text::PackedTokens forward(one.capacity()), backward(one.capacity()), different(one.capacity());
    int differing = 0;
    for (std::uint64_t cursor = 50; cursor-- > 0;) {
      one.fill(cursor, forward);
      other.fill(cursor, different);
      same.fill(49, backward);
      same.fill(cursor, backward);
      REQUIRE(tokens_of(forward) == tokens_of(backward));
      differing += tokens_of(forward) != tokens_of(different);
    }
    CHECK(differing == (order == Order::sequential ? 0 : 50));
  }
}

TEST_CASE("shuffled windows come once an epoch, in another order and from another start", "[windows]") {
  const auto corpus = places(108);  // ten windows of ten, seven tokens left over
  const Windows sampler(corpus, {.batch = 3, .length = 10, .order = Order::shuffled, .seed = 5});
  CHECK(sampler.epoch() == 4);
  text::PackedTokens batch(sampler.capacity());
  std::vector<int> all;
  for (std::uint64_t cursor = 0; cursor < 100; ++cursor) {
    sampler.fill(cursor, batch);
    for (const int start : starts(batch)) all.push_back(start);
  }
  std::set<int> shifts;
  std::set<std::vector<int>> orders;
  for (std::size_t epoch = 0; epoch < 30; ++epoch) {
    std::vector<int> windows(all.begin() + 10 * epoch, all.begin() + 10 * (epoch + 1));
    const int shift = windows[0] % 10;
    shifts.insert(shift);
    for (int& window : windows) {
      REQUIRE(window % 10 == shift);
      window /= 10;
    }
    orders.insert(windows);
    CHECK(std::set<int>(windows.begin(), windows.end()).size() == 10);
  }
  CHECK(shifts.size() > 4);
  CHECK(*shifts.rbegin() == 7);
  CHECK(orders.size() == 30);
}

TEST_CASE("sequential windows predict every token but the first once", "[windows]") {
  for (const int size : {2, 10, 11, 12, 61, 62, 107}) {
    const auto corpus = places(size);
    const Windows sampler(corpus, {.batch = 3, .length = 10, .order = Order::sequential});
    text::PackedTokens batch(sampler.capacity());
    std::vector<int> predicted;
    for (std::uint64_t cursor = 0; cursor < sampler.epoch(); ++cursor) {
      sampler.fill(cursor, batch);
      starts(batch);
      predicted.insert(predicted.end(), batch.targets().begin(), batch.targets().end());
    }
    std::vector<int> expected(static_cast<std::size_t>(size) - 1);
    std::iota(expected.begin(), expected.end(), 1);
    CHECK(predicted == expected);
    sampler.fill(sampler.epoch(), batch);
    CHECK(batch.tokens()[0] == 0);  // and so on
  }
}

TEST_CASE("a text that is too short is refused", "[windows]") {
  const auto corpus = places(64);
  CHECK_THAT(message_of<Error>([&] { Windows(corpus, {.length = 64}); }),
             ContainsSubstring("the text has 64 tokens, windows of 64 need 65; give more text or a shorter length"));
  CHECK_NOTHROW(Windows(corpus, {.length = 63}));
  CHECK_NOTHROW(Windows(corpus, {.length = 64, .order = Order::sequential}));
  CHECK_THROWS_AS(Windows(std::span(std::as_const(corpus.tokens)).first(1), {.order = Order::sequential}), Error);
  CHECK_THROWS_AS(Windows(corpus, {.batch = 0}), ShapeError);
  CHECK_THROWS_AS(Windows(corpus, {.length = -1}), ShapeError);
  CHECK_THROWS_AS(Windows(corpus, {.batch = 1 << 16, .length = 1 << 16}), ShapeError);
}

}  // namespace windows_test
