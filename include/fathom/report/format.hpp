// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <locale.h>
#include <stdlib.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

/// Numbers as people and files read them, the same in every locale. What is given is appended to.
namespace fathom::inline FATHOM_ABI::format {

namespace detail {

template <class... Arguments>
void append_chars(std::string& text, Arguments... arguments) {
  char buffer[400];  // a double written out has at most 309 digits before the point
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, arguments...);
  text.append(buffer, result.ptr);
}

/// `std::from_chars` of a floating-point number, for a standard library without it (libc++): the characters of its
/// grammar, read by strtod in the locale "C".
template <class Number>
std::optional<Number> parse_floating(std::string_view text) {
  const std::string_view start = text.substr(text.starts_with('-') ? 1 : 0);
  if (start.find_first_not_of(".0123456789infINF", 0) == 0 || start.find_first_of("xX") != start.npos) return {};
  static const locale_t plain = ::newlocale(LC_ALL_MASK, "C", nullptr);
  const std::string terminated(text);
  char* end = nullptr;
  errno = 0;
  Number number;
  if constexpr (std::is_same_v<Number, float>)
    number = ::strtof_l(terminated.c_str(), &end, plain);
  else
    number = ::strtod_l(terminated.c_str(), &end, plain);
  const bool held = errno != ERANGE || (number != 0 && std::isfinite(number));
  if (!held || text.empty() || end != terminated.c_str() + terminated.size()) return {};
  return number;
}

}  // namespace detail

inline void append(std::string& text, std::int64_t value) { detail::append_chars(text, value); }

/// The shortest text that reads back as the same bits: 0.1, 1e-07, nan.
inline void append_exact(std::string& text, double value) { detail::append_chars(text, value); }

/// The decimal number that `text` is, all of it: no spaces, no plus sign, no other base; nothing when it is none, or
/// one that the type cannot hold. Floating-point types also know inf and nan.
template <class Number>
std::optional<Number> parse(std::string_view text) {
  if constexpr (requires(const char* at, Number& number) { std::from_chars(at, at, number); }) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return number;
  } else {
    return detail::parse_floating<Number>(text);
  }
}

/// With that many digits after the point, at most 50: 2.3400.
inline void append_fixed(std::string& text, double value, int decimals) {
  detail::append_chars(text, value, std::chars_format::fixed, decimals);
}

/// With that many digits after the point, at most 50: 3.00e-04.
inline void append_scientific(std::string& text, double value, int decimals) {
  detail::append_chars(text, value, std::chars_format::scientific, decimals);
}

/// A duration in its two largest units: 12s, 3m05s, 1h02m, 4d03h; "?" for one that is not known (NaN or infinite).
inline void append_duration(std::string& text, double seconds) {
  if (!std::isfinite(seconds) || seconds >= 1e15) {
    text += '?';
    return;
  }
  const auto whole = std::llround(seconds > 0 ? seconds : 0);
  const auto pair = [&text](std::int64_t large, char large_unit, std::int64_t small, char small_unit) {
    append(text, large);
    text += large_unit;
    if (small < 10) text += '0';
    append(text, small);
    text += small_unit;
  };
  if (whole < 60) {
    append(text, std::int64_t{whole});
    text += 's';
  } else if (whole < 3600) {
    pair(whole / 60, 'm', whole % 60, 's');
  } else if (whole < 24 * 3600) {
    pair(whole / 3600, 'h', whole / 60 % 60, 'm');
  } else {
    pair(whole / (24 * 3600), 'd', whole / 3600 % 24, 'h');
  }
}

/// A count to three digits with its power of a thousand: 999, 1.23k, 12.3k, 123k, 4.56M; not below zero.
inline void append_count(std::string& text, double count) {
  constexpr std::string_view units = "kMGTPE";
  if (count < 999.5) return append_fixed(text, count, count < 9.95 && count != std::floor(count) ? 1 : 0);
  std::size_t unit = 0;
  for (count /= 1000; count >= 999.5 && unit + 1 < units.size(); count /= 1000) ++unit;
  append_fixed(text, count, count < 9.995 ? 2 : count < 99.95 ? 1 : 0);
  text += units[unit];
}

}  // namespace fathom::inline FATHOM_ABI::format
