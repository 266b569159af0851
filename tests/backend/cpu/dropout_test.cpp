// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <fathom/backend/cpu/dropout.hpp>
#include <vector>

namespace dropout_test {

using namespace fathom;

const Dropout dropout{.rate = 0.3, .key = Key{7}.child("site")};

TEMPLATE_TEST_CASE("blocks of dropout are those of Dropout::factors, each once and in order", "", float, double) {
  const int rows = GENERATE(0, 1, 3, 17), begin = GENERATE(0, 16), width = GENERATE(1, 8, 13, 40, 129);
  struct Place {
    int row, column;
    bool operator==(const Place&) const = default;
  };
  std::vector<Place> expected, found;
  const int end = begin + width, sequence = 5, position = 11;
  for (int row = 0; row < rows; ++row)
    for (int column = begin; column < end; column += Dropout::block) expected.push_back({row, column});
  cpu::each_dropout_block<TestType>(
      dropout, sequence, position, rows, begin, end, [&](int row, int column, const TestType* factors) {
        found.push_back({row, column});
        const auto exact = dropout.factors<TestType>(sequence, 0, position + row, column / Dropout::block);
        CHECK(std::equal(exact.begin(), exact.end(), factors));
      });
  CHECK(found == expected);
}

TEMPLATE_TEST_CASE("columns of dropout are those of Dropout::factors", "", float, double) {
  constexpr int lanes = int(cpu::simd_width<TestType>);
  const int column = GENERATE(0, 4, 8, 20), head = GENERATE(0, 3), row = 100, sequence = 2;
  TestType factors[4 * lanes];
  cpu::dropout_columns<TestType>(dropout, sequence, head, row, column, factors);
  for (int lane = 0; lane < lanes; ++lane) {
    const auto exact = dropout.factors<TestType>(sequence, head, row + lane, column / Dropout::block);
    for (int c = 0; c < 4; ++c) CHECK(factors[c * lanes + lane] == exact[std::size_t(column % Dropout::block + c)]);
  }
}

}  // namespace dropout_test
