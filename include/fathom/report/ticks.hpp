// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/report/format.hpp>
#include <string>
#include <vector>

/// Where an axis carries marks, and what they say: round numbers, as few digits as tell them apart.
namespace fathom::inline FATHOM_ABI {

struct Tick {
  double value;
  std::string label;
};

namespace detail {

/// The multiples of `step` from low to high. Marks of at least 10,000 are written in thousands, millions and so on.
inline std::vector<Tick> multiples(double step, double low, double high) {
  constexpr std::array<const char*, 5> units{"", "k", "M", "G", "T"};
  const double largest = std::max(std::abs(low), std::abs(high));
  const bool plain = largest >= 1e-3 && largest < 1e15;
  const auto unit = plain && largest >= 1e4 ? static_cast<std::size_t>(std::log10(largest) / 3) : 0;
  const double scale = std::pow(1000.0, static_cast<double>(unit));
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step / scale) + 1e-9)));

  std::vector<Tick> ticks;
  const double first = std::ceil(low / step - 1e-9), count = std::floor(high / step + 1e-9) - first + 1;
  for (double number = 0; number < count; ++number) {  // counted from 0, since 2⁵³ + 1 is 2⁵³
    const double i = first + number;
    Tick& tick = ticks.emplace_back(Tick{.value = i == 0 ? 0 : i * step, .label = {}});
    if (i == 0) {
      tick.label = "0";
    } else if (plain) {
      format::append_fixed(tick.label, tick.value / scale, decimals);
      tick.label += units[unit];
    } else {
      format::append_scientific(tick.label, tick.value, 1);
    }
  }
  return ticks;
}

inline std::string power_of_ten(int exponent) {
  constexpr std::array<const char*, 10> digits{"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "10⁻" : "10";
  for (const char digit : std::to_string(std::abs(exponent))) text += digits[static_cast<std::size_t>(digit - '0')];
  return text;
}

}  // namespace detail

/// At most `most` marks (2 or more) at the multiples of 1, 2 or 5 times a power of ten; low < high.
inline std::vector<Tick> linear_ticks(double low, double high, int most) {
  const double magnitude = std::pow(10.0, std::floor(std::log10((high - low) / most)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    const double step = factor * magnitude;
    if (std::floor(high / step + 1e-9) - std::ceil(low / step - 1e-9) < most) return detail::multiples(step, low, high);
  }
  return detail::multiples(20 * magnitude, low, high);
}

/// For a logarithmic axis, 0 < low < high: powers of ten; their 2- and 5-fold too where few of them fit; where even
/// those are fewer than three, the marks of a linear axis.
inline std::vector<Tick> log_ticks(double low, double high, int most) {
  const int first = static_cast<int>(std::ceil(std::log10(low) - 1e-9));
  const int last = static_cast<int>(std::floor(std::log10(high) + 1e-9));
  const bool short_labels = first >= -4 && last <= 4;
  std::vector<Tick> ticks;
  if (last - first >= 2) {
    const int stride = (last - first) / most + 1;
    for (int exponent = first; exponent <= last; exponent += stride) {
      Tick& tick = ticks.emplace_back(Tick{.value = std::pow(10.0, exponent), .label = {}});
      if (short_labels)
        format::append_fixed(tick.label, tick.value, std::max(0, -exponent));
      else
        tick.label = detail::power_of_ten(exponent);
    }
    return ticks;
  }
  for (int exponent = first - 1; exponent <= last; ++exponent) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * std::pow(10.0, exponent);
      if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
      Tick& tick = ticks.emplace_back(Tick{.value = value, .label = {}});
      if (short_labels)
        format::append_fixed(tick.label, value, std::max(0, -exponent));
      else
        format::append_scientific(tick.label, value, 0);
    }
  }
  return ticks.size() >= 3 ? ticks : linear_ticks(low, high, most);
}

}  // namespace fathom::inline FATHOM_ABI
