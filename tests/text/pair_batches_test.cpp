// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/text/epoch.hpp>
#include <fathom/text/pair_batches.hpp>
#include <fathom/text/prefetch.hpp>
#include <map>
#include <random>
#include <set>
#include <string>
#include <support/temporary_directory.hpp>
#include <thread>
#include <vector>

namespace pair_batches_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using text::PairBatches;
using text::PairBatchOptions;
using text::PairPlace;

using Corpora = std::vector<text::PairCorpus<int>>;

/// Pairs whose sides have 1 to 30 tokens.
text::PairCorpus<int> pairs(std::size_t count, unsigned seed = 1) {
  std::minstd_rand draw(seed);
  text::PairCorpus<int> corpus;
  corpus.name = "corpus " + std::to_string(seed);
  for (std::size_t i = 0; i < count; ++i) {
    const auto length = 5 + draw() % 22, other = length + draw() % 9 - 4;
    corpus.source.append(std::vector<int>(length, static_cast<int>(i)));
    corpus.target.append(std::vector<int>(other, static_cast<int>(i)));
  }
  return corpus;
}

struct Chosen {
  std::uint64_t cursor = 0, next = 0;
  std::vector<PairPlace> places = {};
  bool operator==(const Chosen&) const = default;
};

Chosen batch_at(const PairBatches<int>& sampler, std::uint64_t cursor) {
  Chosen batch{cursor};
  batch.next = sampler.select(cursor, [&](PairPlace place) { batch.places.push_back(place); });
  return batch;
}

/// The batches of epochs [0, epochs).
std::vector<Chosen> batches_of(const PairBatches<int>& sampler, std::uint64_t epochs = 1) {
  std::vector<Chosen> batches;
  for (std::uint64_t cursor = 0; sampler.epoch_of(cursor) < epochs; cursor = batches.back().next)
    batches.push_back(batch_at(sampler, cursor));
  return batches;
}

constexpr int longest = 40;
const PairBatchOptions small{.source_rows = 100,
                             .target_rows = 110,
                             .pairs = 9,
                             .longest_source = longest,
                             .longest_target = longest,
                             .chunk = 64,
                             .seed = 3};

TEST_CASE("every pair comes once an epoch, in another order each", "[pair_batches]") {
  for (const std::size_t count : {1u, 2u, 63u, 64u, 65u, 95u, 96u, 97u, 160u, 1000u}) {
    CAPTURE(count);
    const auto corpus = pairs(count);
    const PairBatches<int> sampler(corpus, small);
    CHECK(sampler.epoch() == count);
    std::vector<PairPlace> places;
    for (const Chosen& batch : batches_of(sampler, 4)) {
      REQUIRE(batch.next - batch.cursor == batch.places.size());
      places.insert(places.end(), batch.places.begin(), batch.places.end());
    }
    REQUIRE(places.size() == 4 * count);
    std::set<std::vector<PairPlace>> orders;
    for (std::size_t epoch = 0; epoch < 4; ++epoch) {
      const auto begin = places.begin() + static_cast<std::ptrdiff_t>(epoch * count);
      const std::vector<PairPlace> order(begin, begin + static_cast<std::ptrdiff_t>(count));
      CHECK(std::set<PairPlace>(order.begin(), order.end()).size() == count);
      orders.insert(order);
    }
    if (count > 9) CHECK(orders.size() == 4);
  }
}

TEST_CASE("no batch exceeds a budget, and none could have had the next pair of its length", "[pair_batches]") {
  const auto corpus = pairs(3000);
  for (const bool shuffle : {true, false}) {
    PairBatchOptions options = small;
    options.shuffle = shuffle;
    const PairBatches<int> sampler(corpus, options);
    std::size_t count = 0, rows = 0;
    for (const Chosen& batch : batches_of(sampler)) {
      int source = 0, target = 0;
      for (const PairPlace place : batch.places) {
        source += sampler.source_rows(place);
        target += sampler.target_rows(place);
      }
      REQUIRE(!batch.places.empty());
      REQUIRE(source <= options.source_rows);
      REQUIRE(target <= options.target_rows);
      REQUIRE(batch.places.size() <= static_cast<std::size_t>(options.pairs));
      ++count;
      rows += static_cast<std::size_t>(source);
    }
    const double filled = static_cast<double>(rows) / (static_cast<double>(count) * options.source_rows);
    CHECK(filled > (shuffle ? 0.6 : 0.7));  // short pairs are limited by their number
  }
}

TEST_CASE("the pairs of a shuffled batch have nearly equal lengths", "[pair_batches]") {
  const auto corpus = pairs(3000);
  PairBatchOptions options = small;
  options.chunk = 1500;
  const PairBatches<int> sampler(corpus, options);
  int differences = 0, count = 0;
  for (const Chosen& batch : batches_of(sampler)) {
    const auto rows = [&](PairPlace place) { return sampler.source_rows(place); };
    const auto [least, most] = std::ranges::minmax(batch.places, {}, rows);
    differences += rows(most) - rows(least);
    ++count;
  }
  CHECK(differences < count);  // less than 1 on average
}

TEST_CASE("batches are the same from any cursor, in any order, for any copy", "[pair_batches]") {
  const Corpora corpora{pairs(300, 1), pairs(70, 2), pairs(11, 3)};
  PairBatchOptions options = small;
  options.weights = {0.7, 1, 3.3};
  const PairBatches<int> sampler(corpora, options);
  auto batches = batches_of(sampler, 3);
  std::ranges::shuffle(batches, std::minstd_rand(1));
  const PairBatches<int> copy = sampler;
  for (const Chosen& batch : batches) {
    REQUIRE(batch_at(copy, batch.cursor) == batch);
    REQUIRE(batch_at(PairBatches<int>(corpora, options), batch.cursor) == batch);
    // A cursor within a batch means that batch.
    const Chosen within = batch_at(copy, batch.next - 1);
    REQUIRE(within.places == batch.places);
    REQUIRE(within.next == batch.next);
  }
  options.seed = 4;
  CHECK(batch_at(PairBatches<int>(corpora, options), 0).places != batch_at(sampler, 0).places);
}

TEST_CASE("threads may ask for batches of one sampler", "[pair_batches][threads]") {
  const auto corpus = pairs(1000);
  const PairBatches<int> sampler(corpus, small);
  const auto expected = batches_of(sampler, 2);
  std::vector<std::thread> threads;
  std::vector<char> equal(3, 0);
  for (std::size_t i = 0; i < equal.size(); ++i)
    threads.emplace_back([&, i] { equal[i] = batches_of(sampler, 2) == expected; });
  for (std::thread& thread : threads) thread.join();
  CHECK(equal == std::vector<char>(3, 1));
}

TEST_CASE("weights are how often a pair of a corpus comes in an epoch", "[pair_batches]") {
  const Corpora corpora{pairs(300, 1), pairs(70, 2), pairs(11, 3), pairs(5, 4), {}};
  PairBatchOptions options = small;
  options.weights = {0.5, 1, 3.3, 0, 1};
  const PairBatches<int> sampler(corpora, options);
  CHECK(sampler.epoch() == 150 + 70 + 36);
  constexpr std::uint64_t epochs = 30;
  std::map<PairPlace, std::uint64_t> counts;
  std::vector<std::map<PairPlace, int>> in_epoch(epochs);
  for (const Chosen& batch : batches_of(sampler, epochs)) {
    for (const PairPlace place : batch.places) {
      ++counts[place];
      ++in_epoch[sampler.epoch_of(batch.cursor)][place];
    }
  }
  CHECK(counts.size() == 381);
  for (const auto& [place, count] : counts) {
    const double expected = options.weights[place.corpus] * epochs;
    CAPTURE(place.corpus, place.pair);
    REQUIRE(std::abs(static_cast<double>(count) - expected) <= (place.corpus < 2 ? 0 : 1));
  }
  for (const auto& epoch : in_epoch) {
    std::vector<int> totals(5), most(5);
    for (const auto& [place, count] : epoch) {
      totals[place.corpus] += count;
      most[place.corpus] = std::max(most[place.corpus], count);
    }
    REQUIRE(totals[0] == 150);
    REQUIRE(most[0] == 1);  // two epochs are a pass over it
    REQUIRE(totals[1] == 70);
    REQUIRE(most[1] == 1);
    REQUIRE(std::abs(totals[2] - 36.3) < 1);
    REQUIRE(most[2] <= 5);
  }
}

TEST_CASE("without shuffling every pair comes once, in order, whatever the weights", "[pair_batches]") {
  const Corpora corpora{pairs(100, 1), {}, pairs(50, 2), pairs(7, 3)};
  PairBatchOptions options = small;
  options.shuffle = false;
  options.weights = {3, 1, 0.1, 0};
  const PairBatches<int> sampler(corpora, options);
  CHECK(sampler.epoch() == 157);
  std::vector<PairPlace> places, expected;
  for (const Chosen& batch : batches_of(sampler, 2)) {
    CHECK(sampler.epoch_of(batch.cursor) == sampler.epoch_of(batch.next - 1));  // no batch goes on into the next
    places.insert(places.end(), batch.places.begin(), batch.places.end());
  }
  for (int epoch = 0; epoch < 2; ++epoch)
    for (std::size_t corpus = 0; corpus < corpora.size(); ++corpus)
      for (std::size_t pair = 0; pair < corpora[corpus].size(); ++pair) expected.push_back({corpus, pair});
  CHECK(places == expected);
  CHECK(batch_at(sampler, 42).places.front() == PairPlace{0, 42});
}

TEST_CASE("a batch has the sources, and the targets with what is to be predicted", "[pair_batches]") {
  text::PairCorpus<int> first, second;
  first.end = second.end = 9;
  first.source.append(std::vector<int>{5, 1, 2, 9});
  first.target.append(std::vector<int>{8, 3});
  second.source.append(std::vector<int>{9});
  second.target.append(std::vector<int>{8});
  second.source.append(std::vector<int>{4, 9});
  second.target.append(std::vector<int>{8, 5, 6, 7});
  PairBatchOptions options = small;
  options.shuffle = false;
  const Corpora corpora{first, second};
  const PairBatches<int> sampler(corpora, options);
  CHECK(sampler.capacity() == PairCapacity({100, 9, longest}, {110, 9, longest}));
  text::PackedPairs packed(sampler.capacity());
  CHECK(sampler.fill(0, packed) == 3);
  const PairBatch batch = packed;
  check_batch(batch, sampler.capacity(), 10, 10);
  const auto is = [](std::span<const int> values, std::vector<int> expected) {
    CHECK(std::vector<int>(values.begin(), values.end()) == expected);
  };
  is(packed.source_tokens(), {5, 1, 2, 9, 9, 4, 9});
  is(batch.source.packing.offsets, {0, 4, 5, 7});
  is(packed.target().tokens(), {8, 3, 8, 8, 5, 6, 7});
  is(packed.target().targets(), {3, 9, 9, 5, 6, 7, 9});
  is(batch.target.packing.offsets, {0, 2, 3, 7});
}

TEST_CASE("batches are filled with the pairs that are selected, and prefetched from any of them", "[pair_batches]") {
  const auto corpus = pairs(700);
  const PairBatches<int> sampler(corpus, small);
  std::uint64_t cursor = 0;
  const auto tokens_at = [&](std::uint64_t place) {
    std::vector<int> tokens;
    sampler.select(place, [&](PairPlace pair) {
      const auto source = sampler.source(pair);
      tokens.insert(tokens.end(), source.begin(), source.end());
    });
    return tokens;
  };
  for (int resumed = 0; resumed < 5; ++resumed) {
    text::Prefetch prefetch(sampler, cursor);
    for (int i = 0; i < 30; ++i) {
      const std::vector<int> expected = tokens_at(prefetch.cursor());
      const auto& batch = prefetch.next();
      REQUIRE(std::ranges::equal(batch.source_tokens(), expected));
    }
    cursor = prefetch.cursor();
  }
  CHECK(cursor > 700);
}

TEST_CASE("a walk over an epoch for validation has every pair once", "[pair_batches]") {
  const auto corpus = pairs(300);
  PairBatchOptions options = small;
  options.shuffle = false;
  text::Epoch epoch(PairBatches<int>(corpus, options));
  for (int walk = 0; walk < 2; ++walk) {
    std::vector<int> tokens;
    for (const text::PackedPairs& batch : epoch)
      tokens.insert(tokens.end(), batch.source_tokens().begin(), batch.source_tokens().end());
    CHECK(tokens == corpus.source.tokens);
  }
  int pairs_of_sample = 0;
  text::Epoch sample(PairBatches<int>(corpus, options), 5);
  for (const text::PackedPairs& batch : sample) pairs_of_sample += batch.pairs();
  CHECK(pairs_of_sample > 10);
  CHECK(pairs_of_sample <= 45);
}

TEST_CASE("temperature takes more of small corpora, and as much of all together", "[pair_batches]") {
  const std::vector<std::size_t> sizes{100'000, 1'000, 0};
  CHECK(text::temperature_weights(sizes, 1) == std::vector<double>{1, 1, 1});
  const auto weights = text::temperature_weights(sizes, 5);
  CHECK(std::abs(weights[0] * 100'000 + weights[1] * 1'000 - 101'000) < 1e-6);
  CHECK(std::abs(weights[0] * 100'000 / (weights[1] * 1'000) - std::pow(100, 0.2)) < 1e-9);
  CHECK_THROWS_AS(text::temperature_weights(sizes, 0.5), Error);
}

TEST_CASE("options and corpora that cannot work are refused", "[pair_batches]") {
  const auto corpus = pairs(20);
  const auto with = [&](auto change) {
    PairBatchOptions options = small;
    change(options);
    return message_of<Error>([&] { PairBatches<int>(corpus, options); });
  };
  CHECK_THAT(with([](auto& o) { o.source_rows = 0; }), ContainsSubstring("PairBatches: source: a capacity of 0 rows"));
  CHECK_THAT(with([](auto& o) { o.longest_target = 200; }), ContainsSubstring("PairBatches: target"));
  CHECK_THAT(with([](auto& o) { o.chunk = 0; }), ContainsSubstring("a chunk of 0"));
  CHECK_THAT(with([](auto& o) { o.weights = {1, 2}; }), ContainsSubstring("2 weights for 1 corpora"));
  CHECK_THAT(with([](auto& o) { o.weights = {-1}; }), ContainsSubstring("a weight of -1"));
  CHECK_THAT(with([](auto& o) { o.weights = {std::nan("")}; }), ContainsSubstring("a weight of "));
  CHECK_THAT(with([](auto& o) { o.weights = {0.01}; }), ContainsSubstring("less than one pair"));
  const text::PairCorpus<int> none;
  CHECK_THAT(message_of<Error>([&] { PairBatches<int>(none, small); }), ContainsSubstring("have no pairs"));
  auto long_pair = pairs(3);
  long_pair.name = "train.en";
  long_pair.source.append(std::vector<int>(40));
  long_pair.target.append(std::vector<int>(41));
  CHECK_THAT(message_of<Error>([&] { PairBatches<int>(long_pair, small); }),
             ContainsSubstring("pair 4 of train.en has 41 target tokens, the longest may have 40; encode with "
                               "longest_target = 40, or allow more"));
}

}  // namespace pair_batches_test
