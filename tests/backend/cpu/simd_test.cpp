// SPDX-License-Identifier: Apache-2.0
#include "fathom/backend/cpu/simd.hpp"

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <vector>

namespace simd_test {

namespace cpu = fathom::cpu;

/// 1.25, 2.25, …: numbers that tell the lanes apart.
template <class T>
std::vector<T> counting(std::size_t n) {
  std::vector<T> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<T>(i) + T(1.25);
  return values;
}

TEMPLATE_TEST_CASE("full loads and stores keep every lane", "[simd]", float, double) {
  const auto in = counting<TestType>(cpu::simd_width<TestType> + 1);
  std::vector<TestType> out(in.size(), TestType(-7));
  cpu::store(out.data(), cpu::load(in.data() + 1));
  for (std::size_t i = 0; i < cpu::simd_width<TestType>; ++i) CHECK(out[i] == in[i + 1]);
  CHECK(out.back() == TestType(-7));
}

TEMPLATE_TEST_CASE("partial loads and stores touch exactly n elements", "[simd]", float, double) {
  constexpr std::size_t width = cpu::simd_width<TestType>;
  const auto in = counting<TestType>(width);
  for (std::size_t n = 0; n <= width; ++n) {
    const auto v = cpu::load_first(in.data(), n);
    std::vector<TestType> out(width, TestType(-7));
    cpu::store_first(out.data(), cpu::load(in.data()), n);
    for (std::size_t i = 0; i < width; ++i) {
      CHECK(v[i] == (i < n ? in[i] : TestType(0)));
      CHECK(out[i] == (i < n ? in[i] : TestType(-7)));
    }
  }
}

TEMPLATE_TEST_CASE("broadcast keeps the sign of zero", "[simd]", float, double) {
  const auto zero = cpu::broadcast(TestType(-0.0));
  const auto two = cpu::broadcast(TestType(2));
  for (std::size_t i = 0; i < cpu::simd_width<TestType>; ++i) {
    CHECK(std::signbit(zero[i]));
    CHECK(two[i] == TestType(2));
  }
}

TEMPLATE_TEST_CASE("fma rounds once where the hardware can", "[simd]", float, double) {
  const TestType tiny = std::numeric_limits<TestType>::epsilon();
  const auto x = cpu::broadcast(1 + tiny);
  // (1 + e)² - (1 + 2e) is e² exactly; a product rounded first gives zero.
  const auto v = cpu::fma(x, x, cpu::broadcast(-(1 + 2 * tiny)));
#if defined(__FMA__)
  CHECK(v[0] == tiny * tiny);
#else
  CHECK((v[0] == 0 || v[0] == tiny * tiny));
#endif
  CHECK(v[0] == v[cpu::simd_width<TestType> - 1]);
}

TEMPLATE_TEST_CASE("comparison, selection and max work lane by lane", "[simd]", float, double) {
  const auto values = counting<TestType>(cpu::simd_width<TestType>);
  const auto a = cpu::load(values.data());
  const auto b = cpu::broadcast(values[1]);
  const cpu::Simd<TestType> selected = a < b ? a : -a;
  const auto greater = cpu::max(a, b);
  for (std::size_t i = 0; i < cpu::simd_width<TestType>; ++i) {
    CHECK(selected[i] == (i < 1 ? values[i] : -values[i]));
    CHECK(greater[i] == (i < 1 ? values[1] : values[i]));
  }
}

TEMPLATE_TEST_CASE("bit patterns survive the round trip", "[simd]", float, double) {
  const auto bits = cpu::to_bits<TestType>(cpu::broadcast(TestType(1)));
  constexpr int mantissa = std::numeric_limits<TestType>::digits - 1;
  CHECK((bits[0] >> mantissa) == std::numeric_limits<TestType>::max_exponent - 1);
  const auto eight = cpu::from_bits<TestType>(bits + ((cpu::SimdBits<TestType>{} + 3) << mantissa));
  for (std::size_t i = 0; i < cpu::simd_width<TestType>; ++i) CHECK(eight[i] == TestType(8));
}

}  // namespace simd_test
