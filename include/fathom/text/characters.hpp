// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/text/tokenizer.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// Cuts one character off the front of UTF-8 text. Empty where the text does not start with a valid one (RFC 3629: no
/// overlong forms, no surrogates, nothing above U+10FFFF); an invalid byte is never skipped.
inline std::string_view first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto in = [](unsigned value, unsigned low, unsigned high) { return low <= value && value <= high; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return text.substr(0, 1);
  const std::size_t length = in(lead, 0xC2, 0xDF) ? 2 : in(lead, 0xE0, 0xEF) ? 3 : in(lead, 0xF0, 0xF4) ? 4 : 0;
  if (length == 0) return {};
  const unsigned lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (!in(byte(1), lowest, highest)) return {};
  for (std::size_t i = 2; i < length; ++i) {
    if (!in(byte(i), 0x80, 0xBF)) return {};
  }
  return text.substr(0, length);
}

/// How many bytes at the beginning of the text are whole characters of UTF-8: all of a valid text.
inline std::size_t valid_utf8(std::string_view text) {
  std::size_t place = 0;
  while (place < text.size()) {
    std::uint64_t eight = 0;
    if (text.size() - place >= sizeof eight) {  // most text is ASCII
      std::memcpy(&eight, text.data() + place, sizeof eight);
      if ((eight & 0x8080808080808080) == 0) {
        place += sizeof eight;
        continue;
      }
    }
    const std::string_view character = first_character(text.substr(place));
    if (character.empty()) break;
    place += character.size();
  }
  return place;
}

/// A token is a character: one of those that occur in a text, numbered in the order of their code points.
class Characters {
 public:
  using Token = std::uint16_t;

  /// The distinct characters of `text`, which is UTF-8. Of a tokenizer's `table()` it makes that tokenizer again.
  /// Errors: `Error` for text that is empty, not UTF-8, or of more than 65,536 distinct characters.
  static Characters of(std::string_view text) {
    std::set<std::string_view> found;
    for (std::size_t place = 0; place < text.size();) {
      const std::string_view character = character_at(text, place);
      found.insert(character);
      place += character.size();
    }
    if (found.empty()) throw Error("Characters: the text is empty; give one to take the characters from");
    if (found.size() > 1 << 16)
      throw Error("Characters: the text has " + std::to_string(found.size()) +
                  " distinct characters, 65536 are possible; use bytes");
    Characters tokenizer;
    tokenizer.characters_.assign(found.begin(), found.end());
    return tokenizer;
  }

  int vocabulary() const { return static_cast<int>(characters_.size()); }

  /// Errors: `Error` with the place of a character that is not in the table, or of a byte that is not UTF-8.
  std::vector<Token> encode(std::string_view text) const {
    std::vector<Token> ids;
    ids.reserve(text.size());
    for (std::size_t place = 0; place < text.size();) {
      const std::string_view character = character_at(text, place);
      const auto found = std::ranges::lower_bound(characters_, character);
      if (found == characters_.end() || *found != character)
        throw Error("Characters: '" + std::string(character) + "' at byte " + std::to_string(place) +
                    " does not occur in the text that the table was made from");
      ids.push_back(static_cast<Token>(found - characters_.begin()));
      place += character.size();
    }
    return ids;
  }

  std::string decode(std::span<const int> ids) const {
    std::string text;
    for (const int id : ids) {
      check_id(id, vocabulary());
      text += characters_[static_cast<std::size_t>(id)];
    }
    return text;
  }

  /// All characters in the order of their ids: what a checkpoint stores and `of` takes.
  std::string table() const {
    std::string text;
    for (const std::string& character : characters_) text += character;
    return text;
  }

 private:
  static std::string_view character_at(std::string_view text, std::size_t place) {
    const std::string_view character = first_character(text.substr(place));
    if (character.empty())
      throw Error("Characters: the text is not UTF-8 at byte " + std::to_string(place) + "; use bytes");
    return character;
  }

  std::vector<std::string> characters_;  // sorted: the order of UTF-8 bytes is that of code points
};

static_assert(Tokenizer<Characters>);

}  // namespace fathom::inline FATHOM_ABI::text
