// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cmath>
#include <string>

/// What the options of a command line accept: checks that answer in words.
namespace fathom::program {

template <class Accept>
CLI::Validator number(const std::string& rule, Accept accept) {
  return {[=](const std::string& text) {
            double value = 0;
            const bool good = CLI::detail::lexical_cast(text, value) && std::isfinite(value) && accept(value);
            return good ? std::string() : "a number " + rule + " is needed, not '" + text + "'";
          },
          ""};
}

/// And below what CLI11 would silently cut off to the largest integer.
inline CLI::Validator at_least(int least) {
  return number("of at least " + std::to_string(least) + " and below 9e18",
                [=](double x) { return x >= least && x < 9e18; });
}

inline CLI::Validator rate() {
  return number("of at least 0 and below 1", [](double x) { return x >= 0 && x < 1; });
}

/// A share of which there must be some.
inline CLI::Validator share() {
  return number("above 0 and at most 1", [](double x) { return x > 0 && x <= 1; });
}

/// 0 stands for one thread for each core.
inline CLI::Validator thread_count() {
  return number("from 0 to 1024", [](double x) { return x >= 0 && x <= 1024; });
}

inline CLI::Validator some_text() {
  return {[](const std::string& text) { return text.empty() ? std::string("a text is needed") : std::string(); }, ""};
}

}  // namespace fathom::program
