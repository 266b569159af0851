// SPDX-License-Identifier: Apache-2.0
#include "fathom/backend/cpu/shuffle.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <numeric>
#include <vector>

namespace shuffle_test {

namespace cpu = fathom::cpu;

TEMPLATE_TEST_CASE("horizontal sum and max use every lane", "[shuffle]", float, double) {
  constexpr std::size_t width = cpu::simd_width<TestType>;
  std::vector<TestType> values(width);
  std::iota(values.begin(), values.end(), TestType(1.25));
  const auto v = cpu::load(values.data());
  CHECK(cpu::horizontal_sum(v) == TestType(width * (width - 1) / 2) + TestType(1.25) * TestType(width));
  for (std::size_t i = 0; i < width; ++i) {
    auto peak = -v;
    peak[i] = TestType(100);
    CHECK(cpu::horizontal_max(peak) == TestType(100));
  }
}

TEMPLATE_TEST_CASE("many horizontal sums equal single ones bit for bit", "[shuffle]", float, double) {
  constexpr std::size_t width = cpu::simd_width<TestType>;
  cpu::Simd<TestType> rows[width];
  for (std::size_t i = 0; i < width; ++i)
    for (std::size_t j = 0; j < width; ++j) rows[i][j] = std::sin(TestType(i * 31 + j));  // sums that round
  const auto sums = cpu::horizontal_sums<TestType>(rows);
  for (std::size_t i = 0; i < width; ++i) CHECK(sums[i] == cpu::horizontal_sum(rows[i]));
}

TEMPLATE_TEST_CASE("chunks are 16 bytes: broadcast, summed one by one, stored", "[shuffle]", float, double) {
  constexpr std::size_t width = cpu::simd_width<TestType>, chunk = cpu::chunk<TestType>;
  std::vector<TestType> in(chunk + 1);
  std::iota(in.begin(), in.end(), TestType(1.25));
  const auto v = cpu::broadcast_chunk(in.data() + 1);
  for (std::size_t i = 0; i < width; ++i) CHECK(v[i] == in[1 + i % chunk]);
  for (std::size_t n = 0; n <= chunk; ++n) {
    const auto first = cpu::broadcast_chunk(in.data(), n);
    for (std::size_t i = 0; i < width; ++i) CHECK(first[i] == (i % chunk < n ? in[i % chunk] : TestType(0)));
  }

  cpu::Simd<TestType> rows[chunk];
  for (std::size_t i = 0; i < chunk; ++i)
    for (std::size_t j = 0; j < width; ++j) rows[i][j] = TestType(i * 100 + j);
  const auto sums = cpu::chunk_sums<TestType>(rows);
  for (std::size_t c = 0; c < width / chunk; ++c)
    for (std::size_t i = 0; i < chunk; ++i) {
      TestType expected = 0;
      for (std::size_t j = 0; j < chunk; ++j) expected += rows[i][c * chunk + j];
      CHECK(sums[c * chunk + i] == expected);
    }

  std::vector<TestType> out(chunk + 1, TestType(-7));
  constexpr std::size_t last = width / chunk - 1;
  cpu::store_chunk<last>(out.data(), rows[0]);
  for (std::size_t i = 0; i < chunk; ++i) CHECK(out[i] == rows[0][last * chunk + i]);
  CHECK(out.back() == TestType(-7));
}

}  // namespace shuffle_test
