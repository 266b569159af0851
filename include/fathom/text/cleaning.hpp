// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/key.hpp>
#include <fathom/text/pairs.hpp>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// Which pairs of a parallel text are not for training. A limit of 0 is none.
struct CleaningOptions {
  std::size_t longest_words = 250;        ///< of a side, between white space
  std::size_t longest_characters = 2000;  ///< of a side: also for languages that write no spaces
  double ratio = 9;                       ///< characters of the longer side for each one of the shorter
  bool drop_identical = false;            ///< both sides the same text
  bool drop_duplicates = true;            ///< the second and later ones of equal pairs, in whatever text
};

/// How many pairs of a text were kept and dropped. A pair counts once, under the first reason of this order.
struct CleaningReport {
  std::string name;
  std::size_t pairs = 0;  ///< of the text
  std::size_t empty = 0, too_long = 0, ratio = 0, identical = 0, duplicate = 0;
  std::size_t too_many_tokens = 0;  ///< `PairCorpus::too_long`, where that is known

  std::size_t kept() const { return pairs - empty - too_long - ratio - identical - duplicate - too_many_tokens; }
};

/// A table for people: a line for each text with the numbers of pairs, and of several the sums.
inline std::vector<std::string> table(std::span<const CleaningReport> reports) {
  using Row = std::array<std::string, 9>;
  const auto row = [](const CleaningReport& report) {
    const auto number = [](std::size_t value) {
      std::string digits = std::to_string(value);
      for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
      return digits;
    };
    return Row{report.name,
               number(report.pairs),
               number(report.kept()),
               number(report.empty),
               number(report.too_long),
               number(report.ratio),
               number(report.identical),
               number(report.duplicate),
               number(report.too_many_tokens)};
  };
  std::vector<Row> rows{{"", "pairs", "kept", "empty", "too long", "ratio", "identical", "duplicate", "tokens"}};
  CleaningReport sum{.name = "all"};
  for (const CleaningReport& report : reports) {
    rows.push_back(row(report));
    sum.pairs += report.pairs;
    sum.empty += report.empty;
    sum.too_long += report.too_long;
    sum.ratio += report.ratio;
    sum.identical += report.identical;
    sum.duplicate += report.duplicate;
    sum.too_many_tokens += report.too_many_tokens;
  }
  if (reports.size() > 1) rows.push_back(row(sum));
  std::array<std::size_t, 9> widths{};
  for (const Row& one : rows)
    for (std::size_t column = 0; column < one.size(); ++column)
      widths[column] = std::max(widths[column], one[column].size());
  std::vector<std::string> lines;
  for (const Row& one : rows) {
    std::string line = one[0] + std::string(widths[0] - one[0].size(), ' ');
    for (std::size_t column = 1; column < one.size(); ++column)
      line += std::string(2 + widths[column] - one[column].size(), ' ') + one[column];
    std::ranges::replace_if(
        line, [](char c) { return c >= 0 && c < ' '; }, '?');  // a name may be that of a file
    lines.push_back(std::move(line));
  }
  return lines;
}

/// Drops pairs that would teach a translator nothing good, and counts them. White space at the ends of a line goes.
/// Texts are cleaned one after another; a pair that an earlier one of them has is a duplicate.
///
/// Equal pairs are known by 64 bits of a hash: with a hundred million pairs, one run in three thousand loses a pair that
/// has no equal.
class Cleaner {
 public:
  /// Errors: `Error` for a ratio that is neither 0 nor at least 1.
  explicit Cleaner(const CleaningOptions& options = {}) : options_(options) {
    if (!(options.ratio == 0 || options.ratio >= 1))
      throw Error("Cleaner: a ratio of " + std::to_string(options.ratio) +
                  "; it is that of the longer side to the shorter, so give at least 1, or 0 for any");
  }

  /// The pairs that are kept, in their order.
  ParallelText operator()(const ParallelText& text) {
    CleaningReport report{.name = text.name, .pairs = text.size()};
    ParallelText kept;
    kept.name = text.name;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::string_view source = trimmed(text.source[i]), target = trimmed(text.target[i]);
      if (std::size_t CleaningReport::*const reason = why_not(source, target))
        ++(report.*reason);
      else
        kept.append(source, target);
    }
    reports_.push_back(std::move(report));
    return kept;
  }

  /// One for each text so far.
  std::span<const CleaningReport> reports() const { return reports_; }
  std::span<CleaningReport> reports() { return reports_; }

 private:
  static constexpr bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
  static std::string_view trimmed(std::string_view line) {
    while (!line.empty() && is_space(line.front())) line.remove_prefix(1);
    while (!line.empty() && is_space(line.back())) line.remove_suffix(1);
    return line;
  }
  static std::size_t words(std::string_view line) {
    std::size_t count = 0;
    bool in_word = false;
    for (const char c : line) {
      if (!is_space(c) && !in_word) ++count;
      in_word = !is_space(c);
    }
    return count;
  }
  static std::size_t characters(std::string_view line) {
    return static_cast<std::size_t>(
        std::ranges::count_if(line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  }

  /// The count that the pair belongs to; none when it is kept.
  std::size_t CleaningReport::*why_not(std::string_view source, std::string_view target) {
    if (source.empty() || target.empty()) return &CleaningReport::empty;
    const auto exceeds = [](std::size_t value, std::size_t limit) { return limit != 0 && value > limit; };
    const auto [fewer, more] = std::minmax({characters(source), characters(target)});
    if (exceeds(more, options_.longest_characters) || exceeds(words(source), options_.longest_words) ||
        exceeds(words(target), options_.longest_words))
      return &CleaningReport::too_long;
    if (options_.ratio != 0 && static_cast<double>(more) > options_.ratio * static_cast<double>(fewer))
      return &CleaningReport::ratio;
    if (options_.drop_identical && source == target) return &CleaningReport::identical;
    if (options_.drop_duplicates) {
      const std::hash<std::string_view> hash;
      if (!seen_.insert(Key{hash(source)}.child(hash(target)).value).second) return &CleaningReport::duplicate;
    }
    return nullptr;
  }

  CleaningOptions options_;
  std::unordered_set<std::uint64_t> seen_;
  std::vector<CleaningReport> reports_;
};

}  // namespace fathom::inline FATHOM_ABI::text
