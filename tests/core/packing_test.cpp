// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/core/packing.hpp>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/temporary_directory.hpp"

namespace packing_test {

using namespace fathom;
using Catch::Matchers::ContainsSubstring;
using Lengths = std::vector<int>;

// A packing without offsets is a plan: it stands for the largest batch of its capacity.
constexpr Packing plan{{.rows = 100, .sequences = 4, .longest = 40}, {}, {}, {}, {}};
static_assert(plan.rows() == 100 && plan.sequences() == 0 && plan.shard_count() == maximal_shards(plan.capacity));
static_assert(visible_pairs(plan, plan, false) == 4 * 1600 && visible_pairs(plan, plan, true) == 4 * 820);
static_assert(plan.capacity != Capacity{.rows = 100, .sequences = 4, .longest = 40, .forward_only = true});

PackedRows pack(const Capacity& capacity, const Lengths& lengths, const Lengths& past = {}) {
  PackedRows packed(capacity);
  packed.assign(lengths, past);
  return packed;
}
std::string refusal(const Capacity& capacity, const Lengths& lengths, const Lengths& past = {}) {
  return fathom_test::message_of<ShapeError>([&] { pack(capacity, lengths, past); });
}
Lengths list(std::span<const int> numbers) { return {numbers.begin(), numbers.end()}; }

Lengths random_lengths(std::mt19937& random, int shortest, int longest) {
  Lengths lengths(1 + random() % 9);
  for (int& length : lengths) length = shortest + int(random() % unsigned(longest - shortest + 1));
  return lengths;
}

TEST_CASE("sequences are packed one after another and cut into shards of at most 32 rows", "[core]") {
  const PackedRows packed = pack({130, 4, 64}, {33, 64, 1, 32});
  const Packing view = packed;
  CHECK(list(view.offsets) == Lengths{0, 33, 97, 98, 130});
  CHECK(list(view.shards) == Lengths{0, 32, 33, 65, 97, 98, 130});
  CHECK(list(view.sequence_shard) == Lengths{0, 2, 4, 5, 6});
  CHECK(view.past.empty());
  CHECK((view.rows() == 130 && view.sequences() == 4 && view.shard_count() == 6));
  CHECK((packed.rows() == 130 && packed.sequences() == 4 && packed.capacity() == view.capacity));
  CHECK((view.length(1) == 64 && view.length(2) == 1 && view.past_of(1) == 0));

  const PackedRows uniform = PackedRows::uniform(3, 40);
  CHECK(uniform.capacity() == Capacity{120, 3, 40});
  CHECK(list(uniform.view().offsets) == Lengths{0, 40, 80, 120});
  CHECK((PackedRows().rows() == 0 && PackedRows().sequences() == 0));
}

TEST_CASE("with past rows a sequence may idle: it has no rows and no shard", "[core]") {
  PackedRows packed = pack({40, 4, 40}, {0, 33, 0, 1}, {5, 0, 7, 9});
  const Packing view = packed;
  CHECK(list(view.offsets) == Lengths{0, 0, 33, 33, 34});
  CHECK(list(view.shards) == Lengths{0, 32, 33, 34});
  CHECK(list(view.sequence_shard) == Lengths{0, 0, 2, 2, 3});
  CHECK(list(view.past) == Lengths{5, 0, 7, 9});
  CHECK((view.length(2) == 0 && view.past_of(2) == 7));

  packed.assign(Lengths{0, 0}, Lengths{5, 6});
  CHECK((packed.rows() == 0 && packed.sequences() == 2 && packed.view().shard_count() == 0));
  packed.assign(Lengths{3});  // past is of one batch
  CHECK((packed.view().past.empty() && packed.view().past_of(0) == 0));
}

TEST_CASE("a capacity that no batch can have is refused with its numbers", "[core]") {
  const auto refusal_of = [](const Capacity& capacity) {
    return fathom_test::message_of<ShapeError>([&] { check_capacity(capacity, "Owner", 32); });
  };
  constexpr int most = std::numeric_limits<int>::max();
  for (const Capacity& good : {Capacity{1, 1, 1}, Capacity{8, 8, 8}, Capacity{most, most, 32}, Capacity{8, 1, 4, 3}})
    CHECK(refusal_of(good).empty());
  CHECK_THAT(refusal_of({}), ContainsSubstring("Owner: a capacity of 0 rows, 0 sequences, longest 0: rows, sequences"));
  CHECK_THAT(refusal_of({-32, 1, 32}), ContainsSubstring("-32 rows, 1 sequences, longest 32: rows, sequences and"));
  CHECK_THAT(refusal_of({8, 4, 32}),
             ContainsSubstring("8 rows, 4 sequences, longest 32: the longest sequence has more"));
  CHECK_THAT(refusal_of({8, 9, 4}), ContainsSubstring("8 rows, 9 sequences, longest 4: there is not a row for each"));
  CHECK_THAT(refusal_of({40, 1, 33}), ContainsSubstring("longest 33: the longest sequence is longer than the model's"));
  CHECK_THAT(refusal_of({8, 1, 4, -1}), ContainsSubstring("memory_rows -1: memory_rows must not be negative"));
  CHECK_THAT(refusal_of(recomputing({8, 1, 4}, -2)), ContainsSubstring("recomputed -2: recomputed must not be negative"));
  CHECK(refusal_of(recomputing({8, 1, 4}, 99)).empty());
  CHECK(maximal_shards({most, most, 1}) == most);
  for (const auto& [count, length] : {std::pair(0, 4), std::pair(-1, 4), std::pair(3, 0), std::pair(1 << 16, 1 << 15)})
    CHECK_THAT(fathom_test::message_of<ShapeError>([&] { PackedRows::uniform(count, length); }),
               ContainsSubstring(std::to_string(count) + " sequences of " + std::to_string(length) + " rows"));
}

TEST_CASE("what exceeds the capacity is refused with what was asked for and what there is", "[core]") {
  for (const Capacity& nothing : {Capacity{0, 1, 1}, Capacity{1, 0, 1}, Capacity{1, 1, 0}, Capacity{-1, 1, 1}})
    CHECK_THAT(refusal(nothing, {1}), ContainsSubstring("rows, sequences and longest must be positive"));
  const Capacity capacity{12, 3, 8};
  CHECK(refusal(capacity, {8, 3, 1}).empty());
  CHECK(refusal(capacity, {0, 8, 4}, {1, 1, 1}).empty());
  CHECK_THAT(refusal(capacity, {}), ContainsSubstring("0 sequences do not fit a capacity of 3"));
  CHECK_THAT(refusal(capacity, {1, 1, 1, 1}), ContainsSubstring("4 sequences do not fit a capacity of 3"));
  CHECK_THAT(refusal(capacity, {1, 1}, {4}), ContainsSubstring("1 past lengths for 2 sequences"));
  CHECK_THAT(refusal(capacity, {4, 0}), ContainsSubstring("a sequence of 0 rows after 4"));
  CHECK_THAT(refusal(capacity, {4, -1}, {1, 1}), ContainsSubstring("a sequence of -1 rows after 4"));
  CHECK_THAT(refusal(capacity, {9}),
             ContainsSubstring("a sequence of 9 rows after 0 does not fit") && ContainsSubstring("12 rows, longest 8"));
  CHECK_THAT(refusal(capacity, {8, 5}), ContainsSubstring("a sequence of 5 rows after 8 does not fit"));

  PackedRows packed = pack(capacity, {8, 4});
  CHECK_THROWS_AS(packed.assign(Lengths{5, 5, 5}), ShapeError);
  const Packing kept = packed;
  CHECK((list(kept.offsets) == Lengths{0, 8, 12} && list(kept.shards) == Lengths{0, 8, 12}));
}

TEST_CASE("every shard is a part of one sequence, and there are never more than planned", "[core]") {
  std::mt19937 random{1};
  bool reached = false;
  for (int i = 0; i < 3000; ++i) {
    const bool idling = i % 3 == 0;
    const Lengths lengths = random_lengths(random, idling ? 0 : 1, i % 2 == 0 ? 3 : 100);
    const Lengths past(idling ? lengths.size() : 0, 1);
    const int rows = std::accumulate(lengths.begin(), lengths.end(), 0), sequences = int(lengths.size());
    const int planned = std::max(rows, sequences);
    const Capacity capacity{planned, sequences, std::min(planned, 100)};
    const PackedRows packed = pack(capacity, lengths, past);
    const Packing view = packed;
    REQUIRE(view.shard_count() <= maximal_shards(capacity));
    reached |= view.shard_count() == maximal_shards(capacity) && rows > 64;
    for (int s = 0; s < view.sequences(); ++s) {
      const int first = view.sequence_shard[s], end = view.sequence_shard[s + 1];
      REQUIRE(view.shards[first] == view.offsets[s]);  // so no shard crosses from one sequence into another
      REQUIRE(end - first == (lengths[std::size_t(s)] + 31) / 32);
      for (int shard = first; shard < end; ++shard) {
        const int size = view.shards[shard + 1] - view.shards[shard];
        REQUIRE((size > 0 && size <= shard_rows));
      }
    }
    REQUIRE((view.sequence_shard.back() == view.shard_count() && view.shards.back() == rows));
  }
  CHECK(reached);  // the bound is no larger than it has to be
}

TEST_CASE("to assign a batch allocates nothing", "[core]") {
  const Capacity capacity{130, 4, 128};
  PackedRows packed(capacity);
  const std::vector<Lengths> batches = {{1, 1, 127, 1}, {33, 33, 33, 31}, {1}, {128, 2}};
  const Lengths past = {1, 2, 3, 4};
  const long before = fathom_test::allocations;
  for (const Lengths& lengths : batches) {
    packed.assign(lengths);
    packed.assign(lengths, std::span(past).first(lengths.size()));
  }
  CHECK(fathom_test::allocations == before);
}

TEST_CASE("visible pairs are those that a loop over queries and keys counts", "[core]") {
  const auto counted = [](const Packing& queries, const Packing& keys, bool causal) {
    double pairs = 0;
    for (int s = 0; s < queries.sequences(); ++s)
      for (int query = 0; query < queries.length(s); ++query)
        for (int key = 0; key < keys.length(s) + keys.past_of(s); ++key)
          pairs += !causal || key <= keys.past_of(s) + query;
    return pairs;
  };
  std::mt19937 random{2};
  for (int i = 0; i < 200; ++i) {
    const Lengths lengths = random_lengths(random, i % 2, 20);
    Lengths past(lengths.size()), memory(lengths.size());
    for (int& rows : past) rows = int(random() % 10);
    for (int& rows : memory) rows = 1 + int(random() % 10);
    const Capacity capacity{200, 9, 20};
    const PackedRows cached = pack(capacity, lengths, past), side = pack(capacity, memory);
    REQUIRE(visible_pairs(cached, cached, true) == counted(cached, cached, true));
    REQUIRE(visible_pairs(cached, cached, false) == counted(cached, cached, false));
    REQUIRE(visible_pairs(cached, side, false) == counted(cached, side, false));  // cross-attention
  }
}

}  // namespace packing_test
