// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fathom/train/batch_copies.hpp>

#include "train/models.hpp"

namespace batch_copies_test {

using namespace fathom_test;

bool same(const TokenBatch& a, const TokenBatch& b) {
  return a.packing.capacity == b.packing.capacity && std::ranges::equal(a.packing.offsets, b.packing.offsets) &&
         std::ranges::equal(a.packing.shards, b.packing.shards) &&
         std::ranges::equal(a.packing.sequence_shard, b.packing.sequence_shard) &&
         std::ranges::equal(a.packing.past, b.packing.past) && std::ranges::equal(a.tokens, b.tokens) &&
         std::ranges::equal(a.targets, b.targets);
}

TEST_CASE("copies outlive their batches and can be replaced", "[train]") {
  const SomeBatch first(1), second(2, 3), third(3, 2);
  BatchCopies copies(2);
  for (const auto* batches : {&first, &third}) {
    {
      SomeBatch gone = *batches;
      copies.set(0, gone);
      std::ranges::fill(gone.tokens, -1);
    }
    copies.set(1, second);
    REQUIRE(copies.batches().size() == 2);
    CHECK(same(copies.batches()[0], *batches));
    CHECK(same(copies.batches()[1], second));
  }
}

}  // namespace batch_copies_test
