// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <fathom/text/corpus.hpp>
#include <fathom/text/epoch.hpp>
#include <fathom/text/packed_documents.hpp>
#include <fathom/text/windows.hpp>
#include <ranges>
#include <span>
#include <vector>

namespace epoch_test {

using namespace fathom;

static_assert(std::ranges::input_range<text::Epoch<text::Windows<unsigned char>>>);

TEST_CASE("an epoch is every batch of its sampler, again and again", "[text]") {
  std::vector<unsigned char> text(24);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<unsigned char>(i);
  text::Epoch epoch(text::Windows<unsigned char>(std::span<const unsigned char>(text),
                                                 {.batch = 2, .length = 5, .order = text::Order::sequential}));
  CHECK(epoch.capacity().rows == 10);
  for (int walk = 0; walk < 2; ++walk) {
    std::vector<int> targets, batches;
    for (const text::PackedTokens& batch : epoch) {
      batches.push_back(batch.rows());
      targets.insert(targets.end(), batch.targets().begin(), batch.targets().end());
    }
    CHECK(batches == std::vector<int>{10, 10, 3});
    REQUIRE(targets.size() == 23);
    for (int i = 0; i < 23; ++i) CHECK(targets[std::size_t(i)] == i + 1);
  }
}

TEST_CASE("a sample of an epoch is spread evenly, the same in each walk, and the whole where that is no more",
          "[text]") {
  std::vector<unsigned char> text(101);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<unsigned char>(i);
  const text::Windows<unsigned char> windows(std::span<const unsigned char>(text),
                                             {.batch = 2, .length = 5, .order = text::Order::sequential});
  REQUIRE(windows.epoch() == 10);
  const auto starts = [&](std::uint64_t limit) {
    text::Epoch epoch(windows, limit);
    std::vector<int> first, again;
    for (const text::PackedTokens& batch : epoch) first.push_back(batch.tokens()[0]);
    for (const text::PackedTokens& batch : epoch) again.push_back(batch.tokens()[0]);
    CHECK(first == again);
    return first;
  };
  CHECK(starts(1) == std::vector{0});
  CHECK(starts(3) == std::vector{0, 30, 60});
  CHECK(starts(4) == std::vector{0, 20, 50, 70});
  const std::vector<int> all{0, 10, 20, 30, 40, 50, 60, 70, 80, 90};
  CHECK(starts(9) == std::vector<int>(all.begin(), all.end() - 1));
  for (const std::uint64_t limit : {std::uint64_t(10), std::uint64_t(11), text::Epoch<decltype(windows)>::all})
    CHECK(starts(limit) == all);
  CHECK_THROWS_AS(text::Epoch(windows, 0), Error);
}

TEST_CASE("of documents, too, no part is sampled twice", "[text]") {
  text::Corpus<unsigned char> corpus;
  for (int document = 0; document < 40; ++document)
    corpus.append(std::vector<unsigned char>(std::size_t(1 + document % 7), static_cast<unsigned char>(document)));
  const text::PackedDocuments documents(corpus, {.rows = 16, .sequences = 5, .length = 8, .shuffle = false});
  std::size_t batches = 0;
  for (text::Epoch epoch(documents); const text::PackedTokens& batch : epoch) batches += batch.rows() > 0;
  for (std::uint64_t limit = 1; limit <= batches + 2; ++limit) {
    std::vector<int> seen(40);
    std::size_t count = 0;
    for (text::Epoch epoch(documents, limit); const text::PackedTokens& batch : epoch) {
      ++count;
      for (const int token : batch.tokens()) ++seen[std::size_t(token)];
    }
    CAPTURE(limit, batches);
    CHECK(count <= limit);
    CHECK(2 * count >= std::min<std::size_t>(limit, batches));
    for (int document = 0; document < 40; ++document) CHECK(seen[std::size_t(document)] <= 1 + document % 7);
    if (limit >= batches) CHECK(std::ranges::count(seen, 0) == 0);
  }
}

}  // namespace epoch_test
