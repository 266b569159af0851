// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/score/unicode_tables.hpp>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What scores know of characters: the same on every machine, whatever its locale and its libraries.

namespace fathom::inline FATHOM_ABI::score::unicode {

/// General categories N, P and S, and all the rest.
enum class Category : std::uint8_t { other, number, punctuation, symbol };

namespace detail {

/// The range that has `point`, or none.
template <class Range>
constexpr const Range* find(std::span<const Range> ranges, char32_t point) {
  const auto found = std::ranges::lower_bound(ranges, point, {}, &Range::last);
  return found != ranges.end() && found->first <= point ? &*found : nullptr;
}

constexpr std::uint8_t kind(std::span<const tables::Range> ranges, char32_t point) {
  const tables::Range* const range = find(ranges, point);
  return range ? range->kind : 0;
}

}  // namespace detail

inline Category category(char32_t point) {
  static const auto plane_0 = [] {
    std::array<Category, 0x10000> categories{};
    for (const tables::Range& range : tables::categories)
      for (char32_t p = range.first; p <= range.last && p < categories.size(); ++p)
        categories[p] = Category(range.kind);
    return categories;
  }();
  return point < plane_0.size() ? plane_0[point] : Category(detail::kind(tables::categories, point));
}

/// Whether Python's str.split() splits there.
constexpr bool is_space(char32_t point) {
  if (point < 0x80) return point == ' ' || (point >= 9 && point <= 13) || (point >= 0x1c && point <= 0x1f);
  return point == 0x85 || point == 0xa0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
         point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

/// Bytes of the space that `text` starts with in UTF-8; 0 when it starts with none.
constexpr std::size_t space_at(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const char32_t first = byte(0);
  if (text.empty()) return 0;
  if (first < 0x80) return is_space(first) ? 1 : 0;
  if (first == 0xc2) return is_space(0x80 | (byte(1) & 0x3f)) && byte(1) < 0xc0 ? 2 : 0;
  if (first < 0xe1 || first > 0xe3) return 0;
  return is_space((first & 0xf) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f)) ? 3 : 0;
}

/// `text` without the spaces at its end.
constexpr std::string_view without_spaces_behind(std::string_view text) {
  for (;;) {
    std::size_t last = text.size();
    while (last > 0 && text.size() - last < 4 && (static_cast<unsigned char>(text[last - 1]) & 0xc0) == 0x80) --last;
    if (last > 0) --last;
    const std::size_t space = space_at(text.substr(last));
    if (space == 0 || last + space != text.size()) return text;
    text.remove_suffix(space);
  }
}

inline bool is_ascii(std::string_view text) {
  unsigned char bits = 0;
  for (const char c : text) bits |= static_cast<unsigned char>(c);
  return bits < 0x80;
}

/// Replaces `points` by the characters of UTF-8 text (RFC 3629: no overlong forms, no surrogates, nothing above
/// U+10FFFF). Returns the place of the first byte that is none, where there is one.
inline std::optional<std::size_t> decode(std::string_view text, std::u32string& points) {
  points.resize(text.size());
  char32_t* next = points.data();
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[i + k]); };
    const unsigned first = byte(0);
    if (first < 0x80) {
      *next++ = first;
      ++i;
      continue;
    }
    if (first >= 0xc2 && first < 0xe0 && i + 1 < text.size() && (byte(1) & 0xc0) == 0x80) {
      *next++ = (first & 0x1fu) << 6 | (byte(1) & 0x3fu);
      i += 2;
      continue;
    }
    const std::size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    bool valid = first >= 0xc2 && first <= 0xf4 && i + size <= text.size();
    char32_t point = first & (0x7fu >> size);
    for (std::size_t k = 1; valid && k < size; ++k) {
      valid = (byte(k) & 0xc0) == 0x80;
      point = point << 6 | (byte(k) & 0x3fu);
    }
    constexpr char32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (!valid || point < least[size] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return i;
    *next++ = point;
    i += size;
  }
  points.resize(static_cast<std::size_t>(next - points.data()));
  return std::nullopt;
}

inline void append(std::string& text, char32_t point) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (point < 0x80) return add(point);
  if (point < 0x800) {
    add(0xc0 | point >> 6);
  } else {
    if (point < 0x10000) {
      add(0xe0 | point >> 12);
    } else {
      add(0xf0 | point >> 18);
      add(0x80 | (point >> 12 & 0x3f));
    }
    add(0x80 | (point >> 6 & 0x3f));
  }
  add(0x80 | (point & 0x3f));
}

namespace detail {

/// Whether the capital sigma at `place` ends a word: a letter with case is before it and none behind it.
inline bool is_final_sigma(std::u32string_view text, std::size_t place) {
  const auto cased = [](auto begin, auto end) {
    for (; begin != end; ++begin)
      if (const std::uint8_t what = kind(tables::beside_sigma, *begin); what != 2) return what == 1;
    return false;
  };
  const auto sigma = text.begin() + static_cast<std::ptrdiff_t>(place);
  return cased(std::make_reverse_iterator(sigma), text.rend()) && !cased(sigma + 1, text.end());
}

}  // namespace detail

/// `text` in lower case as Python's str.lower() has it.
inline std::u32string lower(std::u32string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t point = text[i];
    if (point < 0x80) {
      result += point >= 'A' && point <= 'Z' ? point + ('a' - 'A') : point;
    } else if (point == 0x3a3) {
      result += detail::is_final_sigma(text, i) ? char32_t{0x3c2} : char32_t{0x3c3};
    } else if (point == 0x130) {  // the one whose lower case is two
      result += U"i\u0307";
    } else {
      const auto* const range = detail::find(std::span<const tables::LowerRange>(tables::lower), point);
      const bool has = range && (point - range->first) % range->step == 0;
      result += has ? static_cast<char32_t>(static_cast<std::int64_t>(point) + range->difference) : point;
    }
  }
  return result;
}

/// Replaces `words` by what is between the spaces of a text, as Python's str.split() does it.
inline void split(std::string_view text, std::vector<std::string_view>& words) {
  words.clear();
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool may_be_space = byte <= ' ' || byte == 0xc2 || (byte >= 0xe1 && byte <= 0xe3);
    const std::size_t space = may_be_space ? space_at(text.substr(i)) : 0;
    if (space == 0) {
      ++i;
      continue;
    }
    if (i > start) words.push_back(text.substr(start, i - start));
    start = i += space;
  }
  if (text.size() > start) words.push_back(text.substr(start));
}

}  // namespace fathom::inline FATHOM_ABI::score::unicode
