// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/text/masking.hpp>
#include <fathom/text/packed_documents.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/text/windows.hpp>
#include <map>
#include <set>
#include <support/temporary_directory.hpp>
#include <vector>

namespace masking_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using text::Masked;
using text::MaskingOptions;

constexpr int vocabulary = 50, mask = 50;

text::Corpus<int> corpus_of(std::initializer_list<int> lengths) {
  text::Corpus<int> corpus;
  const Philox random(Key{5});
  std::uint64_t drawn = 0;
  for (const int length : lengths) {
    std::vector<int> tokens;
    for (int i = 0; i < length; ++i) tokens.push_back(static_cast<int>(below(vocabulary, low_bits(random(drawn++)))));
    corpus.append(tokens);
  }
  return corpus;
}

std::vector<int> copy(std::span<const int> values) { return {values.begin(), values.end()}; }

TEST_CASE("the chosen tokens are targets, and of them 80 % are masked, 10 % random, 10 % kept", "[masking]") {
  const auto corpus = corpus_of({5000});
  const text::Windows windows(corpus, {.batch = 4, .length = 100});
  const Masked sampler(windows, {.vocabulary = vocabulary, .mask = mask});
  text::PackedTokens plain(windows.capacity()), batch(sampler.capacity());
  int targets = 0, masked = 0, random = 0, kept = 0;
  std::map<int, int> at;
  for (std::uint64_t cursor = 0; cursor < 1000; ++cursor) {
    CHECK(sampler.fill(cursor, batch) == cursor + 1);
    windows.fill(cursor, plain);
    REQUIRE(std::ranges::equal(batch.packing().offsets, plain.packing().offsets));
    for (std::size_t row = 0; row < 400; ++row) {
      const int token = batch.tokens()[row], target = batch.targets()[row], original = plain.tokens()[row];
      if (target == text::no_target) {
        REQUIRE(token == original);
        continue;
      }
      REQUIRE(target == original);
      REQUIRE((token == mask || (token >= 0 && token < vocabulary)));
      ++targets;
      ++at[static_cast<int>(row % 100)];
      ++(token == mask ? masked : token == original ? kept : random);
    }
  }
  CHECK(targets == 1000 * 4 * 15);
  CHECK(std::abs(masked / double(targets) - 0.8) < 0.01);
  CHECK(std::abs(random / double(targets) - 0.1 * 49 / 50) < 0.008);  // one in fifty is the token itself
  CHECK(std::abs(kept / double(targets) - (0.1 + 0.1 / 50)) < 0.008);
  CHECK(at.size() == 100);
  for (const auto& [place, count] : at) CHECK(std::abs(count - 600) < 150);  // over six standard deviations
}

TEST_CASE("special tokens are neither hidden nor drawn", "[masking]") {
  const auto corpus = corpus_of({2000});
  const std::vector<int> special{0, 3, 4, 49};
  const Masked sampler(
      text::Windows(corpus, {.batch = 4, .length = 50}),
      {.vocabulary = vocabulary, .mask = 3, .special = special, .chosen = 1, .masked = 0, .random = 1});
  text::PackedTokens batch(sampler.capacity()), plain(sampler.capacity());
  std::set<int> seen;
  for (std::uint64_t cursor = 0; cursor < 200; ++cursor) {
    sampler.fill(cursor, batch);
    text::Windows(corpus, {.batch = 4, .length = 50}).fill(cursor, plain);
    for (std::size_t row = 0; row < 200; ++row) {
      const int original = plain.tokens()[row];
      if (std::ranges::count(special, original) > 0) {
        REQUIRE(batch.tokens()[row] == original);
        REQUIRE(batch.targets()[row] == text::no_target);
      } else {
        REQUIRE(batch.targets()[row] == original);
        seen.insert(batch.tokens()[row]);
      }
    }
  }
  CHECK(seen.size() == vocabulary - special.size());
  for (const int token : special) CHECK(!seen.contains(token));
}

TEST_CASE("documents keep their boundaries, and each has a target", "[masking]") {
  const auto corpus = corpus_of({1, 2, 30, 7, 64, 3, 19});
  const text::PackedDocuments documents(corpus, {.rows = 64, .sequences = 5, .length = 32, .seed = 2});
  const Masked sampler(documents, {.vocabulary = vocabulary, .mask = mask});
  text::PackedTokens batch(sampler.capacity()), plain(sampler.capacity());
  CHECK(sampler.epoch() == documents.epoch());
  for (std::uint64_t cursor = 0; cursor < 200;) {
    const std::uint64_t next = sampler.fill(cursor, batch);
    REQUIRE(documents.fill(cursor, plain) == next);
    const Packing packing = batch.packing();
    REQUIRE(std::ranges::equal(packing.offsets, plain.packing().offsets));
    for (int i = 0; i < packing.sequences(); ++i) {
      const auto targets = batch.targets().subspan(packing.offsets[i], packing.length(i));
      const auto chosen = std::ranges::count_if(targets, [](int target) { return target >= 0; });
      CHECK(chosen == std::max(1, static_cast<int>(0.15 * packing.length(i) + 0.5)));
    }
    cursor = next;
  }
}

TEST_CASE("a sequence of special tokens alone has no target", "[masking]") {
  text::Corpus<int> corpus;
  corpus.append(std::vector<int>{7, 7, 7});
  corpus.append(std::vector<int>{1, 7, 7});
  const Masked sampler(text::PackedDocuments(corpus, {.rows = 6, .sequences = 2, .length = 3, .shuffle = false}),
                       {.vocabulary = 8, .mask = 8, .special = {7}});
  text::PackedTokens batch(sampler.capacity());
  sampler.fill(0, batch);
  CHECK(copy(batch.targets()) == std::vector<int>{-1, -1, -1, 1, -1, -1});
}

TEST_CASE("a run that resumes has the same masks, and another epoch or seed has others", "[masking]") {
  const auto corpus = corpus_of({30, 11, 4, 90, 7, 25, 2, 90, 6, 5});
  const auto check = [](const auto& inner) {
    const MaskingOptions options{.vocabulary = vocabulary, .mask = mask, .seed = 4};
    const Masked sampler(inner, options);
    text::Prefetch whole(sampler);
    for (int i = 0; i < 20; ++i) {
      whole.next();
      text::Prefetch resumed(Masked(inner, options), whole.cursor(), 0), same(sampler, whole.cursor(), 0);
      const text::PackedTokens &a = resumed.next(), &b = same.next();
      REQUIRE(copy(a.tokens()) == copy(b.tokens()));
      REQUIRE(copy(a.targets()) == copy(b.targets()));
    }
    text::PackedTokens first(sampler.capacity()), later(sampler.capacity()), other(sampler.capacity());
    sampler.fill(0, first);
    sampler.fill(sampler.epoch(), later);
    Masked(inner, {.vocabulary = vocabulary, .mask = mask, .seed = 5}).fill(0, other);
    CHECK(copy(first.targets()) != copy(later.targets()));
    CHECK(copy(first.targets()) != copy(other.targets()));
  };
  check(text::PackedDocuments(corpus, {.rows = 64, .sequences = 4, .length = 32, .shuffle = false}));
  check(text::Windows(corpus, {.batch = 3, .length = 24, .order = text::Order::sequential}));
  check(text::Windows(corpus, {.batch = 3, .length = 24, .order = text::Order::shuffled}));
}

TEST_CASE("shares and ids that cannot be are refused", "[masking]") {
  const auto corpus = corpus_of({100});
  const text::Windows windows(corpus, {.batch = 1, .length = 10});
  const auto message = [&](const MaskingOptions& options) {
    return message_of<Error>([&] { Masked(windows, options); });
  };
  CHECK_THAT(message({.chosen = 1.5}), ContainsSubstring("must lie between 0 and 1, not at 1.5"));
  CHECK_THAT(message({.masked = 0.8, .random = 0.3}), ContainsSubstring("masked + random"));
  CHECK_THAT(message({.chosen = std::nan("")}), ContainsSubstring("must lie"));
  CHECK_THAT(message({.mask = -1}), ContainsSubstring("token -1 cannot be an id"));
  CHECK_THAT(message({.vocabulary = 2, .mask = 1, .special = {0}}), ContainsSubstring("none that is not special"));
  CHECK(message({}).empty());
}

}  // namespace masking_test
