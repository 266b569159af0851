// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/testing/compare.hpp>
#include <span>
#include <string>
#include <vector>

namespace fathom_test {

/// Two ways to compute one thing in double: equal up to rounding.
void require_near(const auto& actual, const std::vector<double>& expected, const std::string& name) {
  const auto worst = fathom::testing::compare(std::span(actual), std::span(expected), 1e-2);
  INFO(name << '[' << worst.column << "]: " << worst.actual << ", expected " << worst.expected);
  REQUIRE(worst.error <= 1e-11);
}

/// Two buffers, of any machines, that hold the same bits.
template <class Memory>
bool equal_bits(const Memory& a, const Memory& b) {
  const auto x = fathom::values_of(a), y = fathom::values_of(b);
  return std::ranges::equal(std::as_bytes(std::span(x)), std::as_bytes(std::span(y)));
}

}  // namespace fathom_test
