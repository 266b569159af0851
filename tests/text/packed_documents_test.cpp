// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fathom/text/packed_documents.hpp>
#include <map>
#include <set>
#include <vector>

namespace packed_documents_test {

using namespace fathom;
using text::PackedDocuments;

/// Documents of these lengths; token = 1000 · document + place.
text::Corpus<int> documents_of(std::initializer_list<int> lengths) {
  text::Corpus<int> corpus;
  int number = 0;
  for (const int length : lengths) {
    std::vector<int> tokens;
    for (int i = 0; i < length; ++i) tokens.push_back(1000 * number + i);
    corpus.append(tokens);
    ++number;
  }
  return corpus;
}

struct Sequence {
  std::vector<int> tokens, targets;
};

std::vector<Sequence> sequences_of(const text::PackedTokens& batch) {
  std::vector<Sequence> result;
  const Packing packing = batch.packing();
  for (int i = 0; i < packing.sequences(); ++i) {
    const auto tokens = batch.tokens().subspan(packing.offsets[i], packing.length(i));
    const auto targets = batch.targets().subspan(packing.offsets[i], packing.length(i));
    result.push_back({{tokens.begin(), tokens.end()}, {targets.begin(), targets.end()}});
  }
  return result;
}

TEST_CASE("documents are cut into pieces, and only their last token has no target", "[packed_documents]") {
  const auto corpus = documents_of({3, 0, 10, 4});
  const PackedDocuments sampler(corpus, {.rows = 12, .sequences = 8, .length = 4, .shuffle = false});
  text::PackedTokens batch(sampler.capacity());
  CHECK(sampler.epoch() == 5);
  CHECK(sampler.fill(0, batch) == 3);  // 3 + 4 + 4 rows; the next two would not fit
  auto sequences = sequences_of(batch);
  REQUIRE(sequences.size() == 3);
  CHECK(sequences[0].tokens == std::vector<int>{0, 1, 2});
  CHECK(sequences[0].targets == std::vector<int>{1, 2, -1});
  CHECK(sequences[1].tokens == std::vector<int>{2000, 2001, 2002, 2003});
  CHECK(sequences[1].targets == std::vector<int>{2001, 2002, 2003, 2004});
  CHECK(sampler.fill(3, batch) == 5);  // the end of the epoch ends the batch
  sequences = sequences_of(batch);
  REQUIRE(sequences.size() == 2);
  CHECK(sequences[0].targets == std::vector<int>{2009, -1});
  CHECK(sequences[1].targets == std::vector<int>{3001, 3002, 3003, -1});
  CHECK(sampler.fill(5, batch) == 8);
}

TEST_CASE("every piece comes once an epoch, in another order each", "[packed_documents]") {
  const auto corpus = documents_of({3, 10, 4, 1, 7, 25, 2, 9, 6, 5});
  const PackedDocuments sampler(corpus, {.rows = 24, .sequences = 4, .length = 8, .seed = 7});
  text::PackedTokens batch(sampler.capacity());
  std::vector<int> firsts;
  for (std::uint64_t cursor = 0; firsts.size() < 20 * sampler.epoch();) {
    const std::uint64_t next = sampler.fill(cursor, batch);
    CHECK(next - cursor == static_cast<std::uint64_t>(batch.sequences()));
    cursor = next;
    for (const Sequence& sequence : sequences_of(batch)) {
      firsts.push_back(sequence.tokens[0]);
      for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
        const int next_token = sequence.tokens[i] + 1;
        const auto document = corpus.document(static_cast<std::size_t>(sequence.tokens[i] / 1000));
        REQUIRE(sequence.targets[i] == (next_token > document.back() ? text::no_target : next_token));
      }
    }
  }
  std::set<std::vector<int>> orders;
  for (std::size_t epoch = 0; epoch < 20; ++epoch) {
    const auto begin = firsts.begin() + epoch * sampler.epoch();
    const std::vector<int> pieces(begin, begin + sampler.epoch());
    CHECK(std::set<int>(pieces.begin(), pieces.end()).size() == sampler.epoch());
    orders.insert(pieces);
  }
  CHECK(orders.size() == 20);
}

TEST_CASE("batches are the same from any cursor that an earlier batch returned", "[packed_documents]") {
  const auto corpus = documents_of({30, 11, 4, 90, 7, 25, 2, 90, 6, 5});
  const PackedDocuments sampler(corpus, {.rows = 24, .sequences = 4, .length = 8, .seed = 7});
  text::PackedTokens batch(sampler.capacity()), again(sampler.capacity());
  std::uint64_t cursor = 0;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t next = sampler.fill(cursor, batch);
    CHECK(PackedDocuments(corpus, {.rows = 24, .sequences = 4, .length = 8, .seed = 7}).fill(cursor, again) == next);
    CHECK(std::ranges::equal(batch.tokens(), again.tokens()));
    CHECK(std::ranges::equal(batch.packing().offsets, again.packing().offsets));
    cursor = next;
  }
}

TEST_CASE("options and corpora that cannot work are refused", "[packed_documents]") {
  const auto corpus = documents_of({3});
  CHECK_THROWS_AS(PackedDocuments(corpus, {.rows = 0}), ShapeError);
  CHECK_THROWS_AS(PackedDocuments(corpus, {.sequences = 0}), ShapeError);
  CHECK_THROWS_AS(PackedDocuments(corpus, {.length = 0}), ShapeError);
  CHECK_THROWS_AS(PackedDocuments(corpus, {.rows = 8, .length = 9}), ShapeError);
  const auto none = documents_of({0, 0});
  CHECK_THROWS_AS(PackedDocuments(none, {}), Error);
}

}  // namespace packed_documents_test
