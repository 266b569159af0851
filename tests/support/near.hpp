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
template <class T>
void require_near(std::span<T> actual, const std::vector<double>& expected, const std::string& name) {
  const auto worst = fathom::testing::compare(std::span<const T>(actual), std::span<const double>(expected), 1e-2);
  INFO(name << '[' << worst.column << "]: " << worst.actual << ", expected " << worst.expected);
  REQUIRE(worst.error <= 1e-11);
}

/// Two buffers that hold the same bits.
template <class T>
bool equal_bits(const fathom::Buffer<T>& a, const fathom::Buffer<T>& b) {
  return std::ranges::equal(std::as_bytes(a.span()), std::as_bytes(b.span()));
}

}  // namespace fathom_test
