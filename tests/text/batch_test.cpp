// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/text/batch.hpp>
#include <fathom/text/packed_documents.hpp>
#include <fathom/text/windows.hpp>
#include <string>
#include <vector>

namespace batch_test {

using namespace fathom;

static_assert(text::Sampler<text::Windows<std::uint8_t>>);
static_assert(text::Sampler<text::PackedDocuments<int>>);
static_assert(!text::Sampler<text::PackedTokens>);

TEST_CASE("a batch packs sequences with their targets", "[batch]") {
  text::PackedTokens batch({.rows = 5, .sequences = 3, .longest = 3});
  batch.clear();
  CHECK(batch.fits(3));
  CHECK_FALSE(batch.fits(4));  // the longest
  batch.append(std::span<const char>("ab", 2), 'c');
  batch.append(std::span<const char>("xyz", 3), text::no_target);
  CHECK_FALSE(batch.fits(1));  // the rows
  CHECK_THROWS_AS(batch.append(std::span<const char>("q", 1), 0), ShapeError);
  batch.pack();
  CHECK(std::vector<int>(batch.tokens().begin(), batch.tokens().end()) == std::vector<int>{'a', 'b', 'x', 'y', 'z'});
  CHECK(std::vector<int>(batch.targets().begin(), batch.targets().end()) == std::vector<int>{'b', 'c', 'y', 'z', -1});
  CHECK(batch.packing().sequences() == 2);
  CHECK(batch.packing().length(1) == 3);
  CHECK(batch.rows() == 5);

  batch.clear();
  for (int i = 0; i < 3; ++i) batch.append(std::span<const char>("a", 1), 0);
  CHECK_FALSE(batch.fits(1));  // the sequences
  CHECK_THROWS_AS(batch.append(std::span<const char>("", 0), 0), ShapeError);
}

}  // namespace batch_test
