// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <fathom/text/masking.hpp>
#include <fathom/text/packed_documents.hpp>
#include <fathom/text/pair_batches.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/text/windows.hpp>
#include <string>
#include <support/allocations.hpp>
#include <support/no_threads.hpp>
#include <support/temporary_directory.hpp>
#include <vector>

namespace prefetch_test {

using namespace fathom;
using namespace fathom_test;
using text::Prefetch;

text::Corpus<int> corpus_of(int documents) {
  text::Corpus<int> corpus;
  for (int i = 0; i < documents; ++i) corpus.append(std::vector<int>(static_cast<std::size_t>(1 + 7 * i % 40), i));
  return corpus;
}

/// Batches of one row whose token is the cursor; the one at `bad` throws.
struct Failing {
  std::uint64_t bad;
  Capacity capacity() const { return {1, 1, 1}; }
  std::uint64_t epoch() const { return 100; }
  std::uint64_t fill(std::uint64_t cursor, text::PackedTokens& batch) const {
    if (cursor == bad) throw Error("no batch " + std::to_string(cursor));
    const int token = static_cast<int>(cursor);
    batch.clear();
    batch.append(std::span(&token, 1), token);
    batch.pack();
    return cursor + 1;
  }
};

TEST_CASE("the batches are the same with and without a thread, and from the middle on", "[prefetch][threads]") {
  const auto corpus = corpus_of(50);
  const text::PackedDocuments sampler(corpus, {.rows = 64, .sequences = 8, .length = 32, .seed = 2});
  for (const int ahead : {0, 1, 2, 5}) {
    Prefetch prefetch(sampler, 0, ahead);
    text::PackedTokens expected(sampler.capacity());
    std::uint64_t cursor = 0;
    for (int i = 0; i < 100; ++i) {
      const text::PackedTokens& batch = prefetch.next();
      cursor = sampler.fill(cursor, expected);
      REQUIRE(std::ranges::equal(batch.tokens(), expected.tokens()));
      REQUIRE(std::ranges::equal(batch.targets(), expected.targets()));
      REQUIRE(std::ranges::equal(batch.packing().offsets, expected.packing().offsets));
      REQUIRE(prefetch.cursor() == cursor);
    }
    Prefetch resumed(sampler, prefetch.cursor(), ahead);
    for (int i = 0; i < 10; ++i) REQUIRE(std::ranges::equal(prefetch.next().tokens(), resumed.next().tokens()));
  }
}

TEST_CASE("batches come where no thread can be started", "[prefetch][threads]") {
  const NoThreads none;
  Prefetch prefetch(Failing{5}, 2, 2);
  for (int i = 2; i < 5; ++i) CHECK(prefetch.next().tokens()[0] == i);
  CHECK(message_of<Error>([&] { prefetch.next(); }) == "no batch 5");
}

TEST_CASE("a batch stays as it is until the next is asked for", "[prefetch][threads]") {
  Prefetch prefetch(Failing{1'000'000}, 0, 1);
  for (int i = 0; i < 2000; ++i) {
    const text::PackedTokens& batch = prefetch.next();
    for (int look = 0; look < 3; ++look) {
      REQUIRE(batch.tokens()[0] == i);
      std::this_thread::yield();
    }
  }
}

TEST_CASE("an exception comes with the batch that it prevented", "[prefetch][threads]") {
  for (const int ahead : {0, 1, 3}) {
    Prefetch prefetch(Failing{5}, 0, ahead);
    for (int i = 0; i < 5; ++i) CHECK(prefetch.next().tokens()[0] == i);
    for (int again = 0; again < 3; ++again) CHECK(message_of<Error>([&] { prefetch.next(); }) == "no batch 5");
    CHECK(prefetch.cursor() == 5);
  }
}

TEST_CASE("stopping does not wait for a consumer", "[prefetch][threads]") {
  for (int i = 0; i < 200; ++i) {
    Prefetch prefetch(Failing{static_cast<std::uint64_t>(i % 4)}, 0, 1 + i % 3);
    if (i % 4 > 1) prefetch.next();
  }
  CHECK_THROWS_AS(Prefetch(Failing{1}, 0, -1), Error);
}

TEST_CASE("preparing batches allocates nothing", "[prefetch][threads]") {
  const auto corpus = corpus_of(50);
  const auto count = [](auto sampler, int ahead) {
    Prefetch prefetch(sampler, 0, ahead);
    prefetch.next();
    const long before = allocations;
    for (int i = 0; i < 200; ++i) prefetch.next();
    return allocations - before;
  };
  for (const int ahead : {0, 2}) {
    const text::PackedDocuments documents(corpus, {.rows = 64, .sequences = 8, .length = 32});
    CHECK(count(documents, ahead) == 0);
    CHECK(count(text::Masked(documents, {}), ahead) == 0);
    for (const auto order : {text::Order::random, text::Order::shuffled, text::Order::sequential})
      CHECK(count(text::Windows(corpus, {.batch = 4, .length = 16, .order = order}), ahead) == 0);
    for (const bool shuffle : {true, false}) {
      text::PairCorpus<std::uint8_t> pairs;
      for (std::size_t i = 0; i < 50; ++i) {
        pairs.source.append(std::vector<std::uint8_t>(1 + i % 7, 1));
        pairs.target.append(std::vector<std::uint8_t>(1 + i % 5, 2));
      }
      const text::PairBatchOptions options{.source_rows = 64,
                                           .target_rows = 64,
                                           .pairs = 16,
                                           .longest_source = 7,
                                           .longest_target = 5,
                                           .chunk = 20,
                                           .shuffle = shuffle};
      CHECK(count(text::PairBatches(pairs, options), ahead) == 0);
    }
  }
}

}  // namespace prefetch_test
