// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/matmul/upcoming.hpp>

namespace upcoming_test {

using fathom::cpu::detail::Upcoming;

/// How often lines can be fetched until no row is left.
int lines(Upcoming<float> upcoming) {
  int count = 0;
  for (; upcoming.rows() > 0; ++count)
    if (count % 2 == 0)
      upcoming.fetch_line_to_read();
    else
      upcoming.fetch_line_to_write();
  return count;
}

TEST_CASE("What is coming is fetched a cache line at a time, row by row") {
  static float data[20 * 100];
  CHECK(lines({}) == 0);
  CHECK(lines({data, 100, 0, 32}) == 0);
  CHECK(lines({data, 100, 20, 32}) == 40);
  CHECK(lines({data, 100, 20, 33}) == 60);
  CHECK(lines({data, 100, 20, 1}) == 20);
  const Upcoming<float> all{data, 100, 20, 32};
  CHECK(all.rows(5, 5).rows() == 0);
  CHECK(lines(all.rows(5, 12)) == 14);
  Upcoming<float> begun = all;
  begun.fetch_line_to_read();
  CHECK(begun.rows() == 20);
  begun.fetch_line_to_read();
  CHECK(begun.rows() == 19);
}

}  // namespace upcoming_test
