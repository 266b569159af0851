// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <fathom/report/format.hpp>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

/// What the options of a command line accept: checks that answer in words. Every number is decimal, and all of its text
/// counts.
namespace fathom::program {

/// A whole number from `least` to `most`, for an option whose variable is of type T. Zeros in front are dropped,
/// because CLI11 takes them for base 8.
template <std::integral T>
CLI::Validator whole(const T&, std::type_identity_t<T> least,
                     std::type_identity_t<T> most = std::numeric_limits<T>::max()) {
  return {[=](std::string& text) -> std::string {
            const auto value = format::parse<T>(text);
            if (!value || *value < least || *value > most)
              return "a whole number from " + std::to_string(least) + " to " + std::to_string(most) +
                     " is needed, not '" + text + "'";
            text = std::to_string(*value);
            return {};
          },
          ""};
}

/// A finite number that follows a rule.
template <class Accept>
CLI::Validator number(const std::string& rule, Accept accept) {
  return {[=](const std::string& text) {
            const auto value = format::parse<double>(text);
            const bool good = value && std::isfinite(*value) && accept(*value);
            return good ? std::string() : "a number " + rule + " is needed, not '" + text + "'";
          },
          ""};
}

inline CLI::Validator finite() {
  return number("that is finite", [](double) { return true; });
}

inline CLI::Validator not_negative() {
  return number("of at least 0", [](double x) { return x >= 0; });
}

inline CLI::Validator rate() {
  return number("of at least 0 and below 1", [](double x) { return x >= 0 && x < 1; });
}

/// A share of which there must be some.
inline CLI::Validator share() {
  return number("above 0 and at most 1", [](double x) { return x > 0 && x <= 1; });
}

/// 0 stands for one thread for each core that the process may use.
inline CLI::Validator thread_count() { return whole(int{}, 0, 1024); }

/// A number of batches, or one of `words`.
inline CLI::Validator batches(std::vector<std::string> words) {
  return {[words = std::move(words)](const std::string& text) {
            if (std::ranges::find(words, text) != words.end()) return std::string();
            if (format::parse<std::int64_t>(text).value_or(0) > 0) return std::string();
            std::string rule = "a whole number above 0";
            for (const std::string& word : words) rule += (word == words.back() ? " or " : ", ") + word;
            return rule + " is needed, not '" + text + "'";
          },
          ""};
}

/// One of `words`.
inline CLI::Validator one_of(std::vector<std::string> words) {
  return {[words = std::move(words)](const std::string& text) {
            if (std::ranges::find(words, text) != words.end()) return std::string();
            std::string rule;
            for (const std::string& word : words)
              rule += (rule.empty() ? "" : word == words.back() ? " or " : ", ") + word;
            return rule + " is needed, not '" + text + "'";
          },
          ""};
}

inline CLI::Validator some_text() {
  return {[](const std::string& text) { return text.empty() ? std::string("a text is needed") : std::string(); }, ""};
}

}  // namespace fathom::program
