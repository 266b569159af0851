// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <fathom/core/indexed.hpp>
#include <ranges>
#include <span>
#include <vector>

namespace indexed_test {

using fathom::Indexed;

static_assert(std::ranges::borrowed_range<Indexed<std::span<const int>>>);
static_assert(!std::ranges::borrowed_range<Indexed<std::vector<int>>>);

TEST_CASE("any integer indexes, and what the container was made of and for stays", "[indexed]") {
  Indexed<std::vector<int>> vector(3);
  REQUIRE(vector == std::vector<int>{0, 0, 0});
  const int last = 2;
  vector[last] = 7, vector[std::size_t(0)] = 5;
  const Indexed<std::span<const int>> span = vector;
  CHECK((span[0L] == 5 && span[last] == 7 && span.data() == vector.data()));
  const Indexed array(std::array{1, 2});
  CHECK(array[1] == 2);
}

}  // namespace indexed_test
