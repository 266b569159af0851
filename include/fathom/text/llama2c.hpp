// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/tokenizer.hpp>
#include <fathom/train/file.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// The subwords of a llama2.c model, from its `tokenizer.bin` (https://github.com/karpathy/llama2.c): the length of the
/// longest piece, then score, length and bytes of each. Ids 0, 1, 2 are unknown, begin and end of text, the next 256
/// the bytes `<0x00>` to `<0xFF>`.
class Llama2c {
 public:
  using Token = std::uint16_t;
  static constexpr int begin = 1, end = 2;

  /// Errors: `FileError` for a file that is missing, cut off or of another format.
  static Llama2c from_file(const std::filesystem::path& path) {
    const std::string file = read_file(path);
    Llama2c tokenizer;
    std::size_t place = sizeof(std::int32_t);  // after the longest length, which nothing here needs
    const auto take = [&](auto& value) {
      if (file.size() - place < sizeof value) refuse(path);
      std::memcpy(&value, file.data() + place, sizeof value);
      place += sizeof value;
    };
    if (file.size() < place) refuse(path);
    while (place < file.size()) {
      float score;
      std::int32_t length;
      take(score);
      take(length);
      if (length < 0 || file.size() - place < static_cast<std::size_t>(length)) refuse(path);
      tokenizer.ids_.try_emplace(file.substr(place, static_cast<std::size_t>(length)), tokenizer.vocabulary());
      tokenizer.pieces_.push_back({file.substr(place, static_cast<std::size_t>(length)), score});
      place += static_cast<std::size_t>(length);
    }
    if (tokenizer.vocabulary() < first_byte + 256 || tokenizer.vocabulary() > 1 << 16) refuse(path);
    return tokenizer;
  }

  int vocabulary() const { return static_cast<int>(pieces_.size()); }

  /// Characters (or, where the table has none, their bytes) with a space in front, then merged pair by pair, the best
  /// score first. Without the begin token.
  std::vector<Token> encode(std::string_view text) const {
    std::vector<Token> ids;
    if (text.empty()) return ids;
    append(ids, " ");
    while (!text.empty()) {
      std::string_view character = first_character(text);
      if (character.empty()) character = text.substr(0, 1);
      append(ids, character);
      text.remove_prefix(character.size());
    }
    for (;;) {
      std::size_t best = ids.size();
      auto merged = ids_.end();
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = ids_.find(pieces_[ids[i]].text + pieces_[ids[i + 1]].text);
        if (found == ids_.end() || (merged != ids_.end() && score(found) <= score(merged))) continue;
        best = i;
        merged = found;
      }
      if (merged == ids_.end()) return ids;
      ids[best] = static_cast<Token>(merged->second);
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
  }

  /// Begin and end have no text; the piece after a begin loses its leading space, so that the text of a begin and
  /// `encode(text)` is `text`.
  std::string decode(std::span<const int> ids) const {
    std::string text;
    bool at_begin = false;
    for (const int id : ids) {
      check_id(id, vocabulary());
      if (id >= first_byte && id < first_byte + 256) {
        text += static_cast<char>(id - first_byte);
      } else if (id != begin && id != end) {
        std::string_view piece = pieces_[static_cast<std::size_t>(id)].text;
        if (at_begin && piece.starts_with(' ')) piece.remove_prefix(1);
        text += piece;
      }
      at_begin = id == begin;
    }
    return text;
  }

 private:
  static constexpr int first_byte = 3;
  struct Piece {
    std::string text;
    float score;
  };
  using Ids = std::map<std::string, int, std::less<>>;

  [[noreturn]] static void refuse(const std::filesystem::path& path) {
    throw FileError(path.string() +
                    ": is not a whole llama2.c tokenizer; give the .bin file that belongs to the model");
  }

  float score(Ids::const_iterator piece) const { return pieces_[static_cast<std::size_t>(piece->second)].score; }

  void append(std::vector<Token>& ids, std::string_view character) const {
    if (const auto found = ids_.find(character); found != ids_.end()) {
      ids.push_back(static_cast<Token>(found->second));
    } else {
      for (const char byte : character)
        ids.push_back(static_cast<Token>(first_byte + static_cast<unsigned char>(byte)));
    }
  }

  std::vector<Piece> pieces_;
  Ids ids_;
};

static_assert(Tokenizer<Llama2c>);

}  // namespace fathom::inline FATHOM_ABI::text
