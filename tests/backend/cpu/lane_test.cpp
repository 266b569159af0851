// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <fathom/backend/cpu/lane.hpp>
#include <vector>

namespace {
using namespace fathom;
using cpu::Deal;
using cpu::Share;

PackedRows packed(const std::vector<int>& lengths, const std::vector<int>& past = {}) {
  int rows = 0;
  for (const int length : lengths) rows += length;
  PackedRows result({rows, int(lengths.size()), *std::ranges::max_element(lengths)});
  result.assign(lengths, past);
  return result;
}

TEST_CASE("every row, sequence and shard is in exactly one share", "[cpu]") {
  const std::vector<int> lengths = GENERATE(std::vector<int>{1}, std::vector<int>(4, 128), std::vector<int>(5, 64),
                                            std::vector<int>{300, 2, 2, 7}, std::vector<int>(16, 1));
  const int parts = GENERATE(1, 2, 3, 7);
  const PackedRows rows = packed(lengths);
  const Packing packing = rows;
  int row = 0, sequence = 0, shard = 0;
  for (int number = 0; number < parts; ++number) {
    const Share share = Share::of(packing, number, parts);
    CHECK(share.deal == Share::of(packing, 0, parts).deal);
    CHECK(share.rows.begin <= share.rows.end);
    if (share.rows.size() == 0) continue;
    CHECK(share.rows.begin == row);
    CHECK(share.shards.begin == shard);
    CHECK(packing.shards[share.shards.begin] == share.rows.begin);
    CHECK(packing.shards[share.shards.end] == share.rows.end);
    if (share.deal == Deal::sequences) CHECK(share.sequences.begin == sequence);
    row = share.rows.end;
    shard = share.shards.end;
    sequence = share.sequences.end;
  }
  CHECK(row == packing.rows());
  CHECK(shard == packing.shard_count());
}

TEST_CASE("sequences stay whole while no thread gets a twentieth more than its part", "[cpu]") {
  CHECK(Share::of(packed(std::vector<int>(8, 128)), 0, 2).deal == Deal::sequences);
  CHECK(Share::of(packed({100, 100, 96}), 0, 3).deal == Deal::sequences);
  const PackedRows uneven = packed(std::vector<int>(5, 256));
  for (const int number : {0, 1}) {
    const Share share = Share::of(uneven, number, 2);
    CHECK(share.deal == Deal::shards);
    CHECK(share.rows.size() == 5 * 256 / 2);
  }
}

TEST_CASE("a few rows are one thread's", "[cpu]") {
  const PackedRows one = packed({1}, {17});
  CHECK(Share::of(one, 0, 2).deal == Deal::columns);
  CHECK(Share::of(one, 0, 2).rows.size() == 1);
  CHECK(Share::of(one, 1, 2).rows.size() == 0);
}

}  // namespace
