// SPDX-License-Identifier: Apache-2.0
#include <fathom/core/half.hpp>

#include <Eigen/Core>
#include <array>
#include <bit>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <type_traits>

namespace half_test {

using namespace fathom;

template <class T>
using Reference = std::conditional_t<std::is_same_v<T, Bf16>, Eigen::bfloat16, Eigen::half>;

template <class T>
float reference_widened(std::uint16_t bits) {
  return static_cast<float>(std::bit_cast<Reference<T>>(bits));
}
template <class T>
std::uint16_t reference_rounded(float value) {
  return std::bit_cast<std::uint16_t>(Reference<T>(value));
}

template <class T>
void require_rounded(float value) {
  const T ours(value);
  if (std::isnan(value)) {
    REQUIRE((std::isnan(float(ours)) && std::signbit(float(ours)) == std::signbit(value)));
  } else {
    INFO(value);
    REQUIRE(ours.bits == reference_rounded<T>(value));
    REQUIRE(T(double(value)).bits == ours.bits);
  }
}

static_assert(std::is_trivially_copyable_v<Bf16> && std::is_trivially_copyable_v<F16>);
static_assert(sizeof(Bf16) == 2 && alignof(Bf16) == 2 && sizeof(F16) == 2 && alignof(F16) == 2);
static_assert(!std::is_convertible_v<float, Bf16> && !std::is_convertible_v<float, F16>);
static_assert(Number<Bf16> && Number<F16> && Number<float> && !Number<int>);
static_assert(Bf16(1) == 1.0f && F16(-2) == -2.0f && Bf16() == 0.0f && Bf16(3.0f) * F16(0.5f) == 1.5f);
static_assert(Bf16(0x1.01p0f) == 1.0f && Bf16(0x1.03p0f) == 0x1.04p0f);       // ties to even
static_assert(Bf16(0x1.01p0 + 0x1p-50) == 0x1.02p0f && F16(0x1.002p0 - 0x1p-50) == 1.0f);  // rounded once
static_assert(F16(0x1.554p-2f).bits == 0x3555 && F16::from_bits(0x03FF) == 0x1.ff8p-15f);

TEMPLATE_TEST_CASE("each of the 65536 patterns is Eigen's float, and comes back", "[half]", Bf16, F16) {
  for (std::uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const auto bits = std::uint16_t(pattern);
    const float value = TestType::from_bits(bits), expected = reference_widened<TestType>(bits);
    INFO(pattern);
    if (std::isnan(expected)) {
      REQUIRE((std::isnan(value) && std::signbit(value) == std::signbit(expected)));
      REQUIRE(std::isnan(float(TestType(value))));
    } else {
      REQUIRE(std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(expected));
      REQUIRE(TestType(value).bits == bits);
    }
  }
}

TEMPLATE_TEST_CASE("floats are rounded as Eigen rounds them, at every border between two patterns", "[half]", Bf16,
                   F16) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float largest = std::numeric_limits<TestType>::max();
  const float last_border = float(largest + double(largest - TestType::from_bits(std::uint16_t(
                                                                std::numeric_limits<TestType>::max().bits - 1))) / 2);
  for (std::uint32_t pattern = 0; pattern < 0x8000; ++pattern) {
    const float low = TestType::from_bits(std::uint16_t(pattern)), high = TestType::from_bits(std::uint16_t(pattern + 1));
    if (!std::isfinite(low)) break;
    const float border = std::isfinite(high) ? float((double(low) + double(high)) / 2) : last_border;
    for (const float value : {low, std::nextafter(low, infinity), std::nextafter(border, 0.0f), border,
                              std::nextafter(border, infinity), std::nextafter(high, 0.0f)}) {
      require_rounded<TestType>(value);
      require_rounded<TestType>(-value);
    }
  }
  std::mt19937 random{1};
  for (int i = 0; i < 200'000; ++i) require_rounded<TestType>(std::bit_cast<float>(std::uint32_t(random())));
  for (const std::uint32_t bits : {0x7F80'0001u, 0x7FC0'0000u, 0x7FFF'FFFFu, 0xFF80'0001u, 0xFFFF'FFFFu})
    require_rounded<TestType>(std::bit_cast<float>(bits));
}

TEMPLATE_TEST_CASE("doubles are rounded once", "[half]", Bf16, F16) {
  for (std::uint32_t pattern = 0; TestType::from_bits(std::uint16_t(pattern)) < std::numeric_limits<TestType>::max();
       ++pattern) {
    const TestType low = TestType::from_bits(std::uint16_t(pattern)), high = TestType::from_bits(std::uint16_t(pattern + 1));
    const double border = (double(low) + double(high)) / 2;
    INFO(pattern);
    REQUIRE(TestType(std::nextafter(border, 0.0)).bits == low.bits);
    REQUIRE(TestType(border).bits == (pattern % 2 == 0 ? low : high).bits);
    REQUIRE(TestType(std::nextafter(border, 1e300)).bits == high.bits);
    REQUIRE(TestType(-std::nextafter(border, 1e300)) == -float(high));
  }
  CHECK(TestType(1e300) == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(float(TestType(std::numeric_limits<double>::quiet_NaN()))));
}

TEMPLATE_TEST_CASE("limits are those of the patterns", "[half]", Bf16, F16) {
  using Limits = std::numeric_limits<TestType>;
  CHECK(Limits::epsilon() == std::ldexp(1.0f, 1 - Limits::digits));
  CHECK(TestType(1.0f + Limits::epsilon() / 2) == 1.0f);
  CHECK(TestType(1.0f + 0.75f * Limits::epsilon()) == 1.0f + Limits::epsilon());
  CHECK((float(Limits::max()) < Limits::infinity() && Limits::lowest() == -float(Limits::max())));
  CHECK(std::isinf(float(TestType::from_bits(std::uint16_t(Limits::max().bits + 1)))));
  CHECK((std::isinf(float(Limits::infinity())) && std::isnan(float(Limits::quiet_NaN()))));
}

}  // namespace half_test
