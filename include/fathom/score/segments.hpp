// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/score/unicode.hpp>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What is scored: lines of text, and one or several references for each.

namespace fathom::inline FATHOM_ABI::score {

/// Texts in UTF-8, one for each segment. The lines are the caller's and have to stay.
using Lines = std::span<const std::string>;

/// Reference translations: one text, or several in parallel.
class References {
 public:
  References(Lines reference) : texts_{reference} {}
  References(const std::vector<std::string>& reference) : texts_{reference} {}
  References(std::initializer_list<Lines> references) : texts_(references) {}
  References(const std::vector<std::vector<std::string>>& references) : texts_(references.begin(), references.end()) {}

  std::size_t count() const { return texts_.size(); }
  Lines operator[](std::size_t reference) const { return texts_[reference]; }

 private:
  std::vector<Lines> texts_;
};

/// One segment and its references.
struct Segment {
  std::string_view hypothesis;
  std::span<const std::string_view> references;
};

namespace detail {

/// Errors: `Error` for a line that is not UTF-8; it begins with `caller` and names the line as `where()`.
template <class Where>
void check_utf8(std::string_view caller, std::string_view line, const Where& where) {
  if (unicode::is_ascii(line)) return;
  std::u32string points;
  if (const auto place = unicode::decode(line, points))
    throw Error(std::string(caller) + ": " + where() + " is not UTF-8 at byte " + std::to_string(*place + 1) +
                "; convert the text");
}

/// Gives every segment to `take`. Errors: `ShapeError` for texts without lines or of different length, `Error` for a
/// line that is not UTF-8, both with `caller` before them.
template <class Take>
void for_each_segment(std::string_view caller, Lines hypotheses, const References& references, Take&& take) {
  const std::string who(caller);
  if (hypotheses.empty()) throw ShapeError(who + ": no hypotheses; give a text that has lines");
  if (references.count() == 0) throw ShapeError(who + ": no references; give at least one");
  for (std::size_t r = 0; r < references.count(); ++r)
    if (references[r].size() != hypotheses.size())
      throw ShapeError(who + ": " + std::to_string(hypotheses.size()) + " hypotheses, but reference " +
                       std::to_string(r + 1) + " has " + std::to_string(references[r].size()) +
                       " lines; give it one for each hypothesis");
  std::vector<std::string_view> lines(references.count());
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const auto line = [&] { return "line " + std::to_string(i + 1); };
    check_utf8(caller, hypotheses[i], [&] { return line() + " of the hypotheses"; });
    for (std::size_t r = 0; r < lines.size(); ++r) {
      lines[r] = references[r][i];
      check_utf8(caller, lines[r], [&] { return line() + " of reference " + std::to_string(r + 1); });
    }
    take(Segment{hypotheses[i], lines});
  }
}

/// `line`, or what it is in lower case, which `buffer` then holds.
inline std::string_view cased(std::string_view line, bool lowercase, std::string& buffer) {
  if (!lowercase) return line;
  buffer.clear();
  if (unicode::is_ascii(line)) {
    for (const char c : line) buffer += static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    return buffer;
  }
  std::u32string points;
  unicode::decode(line, points);
  for (const char32_t point : unicode::lower(points)) unicode::append(buffer, point);
  return buffer;
}

}  // namespace detail

}  // namespace fathom::inline FATHOM_ABI::score
