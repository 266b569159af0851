// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <numbers>

namespace fathom::inline FATHOM_ABI {

/// ln(x) for a finite x > 0, to a few units in the last place; std::log is no constant expression before C++26.
///
/// x = m · 2^e with m from 1 / sqrt 2 to sqrt 2, and ln(m) = 2 artanh(r) = 2 (r + r³/3 + r⁵/5 + …) for r = (m − 1) / (m
/// + 1), whose square is below 0.03.
constexpr double logarithm(double x) {
  int exponent = 0;
  for (; x > std::numbers::sqrt2; x /= 2) ++exponent;
  for (; x < std::numbers::sqrt2 / 2; x *= 2) --exponent;
  const double r = (x - 1) / (x + 1);
  double sum = 0;
  for (int power = 25; power > 0; power -= 2) sum = sum * r * r + 1.0 / power;
  return exponent * std::numbers::ln2 + 2 * r * sum;
}

}  // namespace fathom::inline FATHOM_ABI
