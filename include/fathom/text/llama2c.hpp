// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/foreign_file.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/tokenizer.hpp>
#include <filesystem>
#include <functional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// The subwords of a llama2.c model, from its `tokenizer.bin` (https://github.com/karpathy/llama2.c): the length of the
/// longest piece, then score, length and bytes of each. Ids 0, 1, 2 are unknown, begin and end of text, the next 256
/// the bytes `<0x00>` to `<0xFF>`.
class Llama2c {
 public:
  using Token = std::uint16_t;
  static constexpr int begin = 1, end = 2;

  /// Errors: `FileError` for a path that is missing or no regular file, a file that is cut off, of another format or
  /// longer than 16 MiB.
  static Llama2c from_file(const std::filesystem::path& path) {
    const MappedFile mapped(path);
    const std::string_view file(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
    Llama2c tokenizer;
    std::size_t place = sizeof(std::int32_t);  // after the longest length, which nothing here needs
    const auto take = [&](auto& value) {
      if (file.size() - place < sizeof value) refuse(path, file);
      std::memcpy(&value, file.data() + place, sizeof value);
      place += sizeof value;
    };
    if (file.size() < place || file.size() > longest_file) refuse(path, file);
    while (place < file.size()) {
      float score;
      std::int32_t length;
      take(score);
      take(length);
      if (std::isnan(score) || length < 0 || file.size() - place < static_cast<std::size_t>(length)) refuse(path, file);
      const std::string piece(file.substr(place, static_cast<std::size_t>(length)));
      tokenizer.ids_.try_emplace(piece, tokenizer.vocabulary());
      tokenizer.pieces_.push_back({piece, score});
      place += static_cast<std::size_t>(length);
    }
    if (tokenizer.vocabulary() < first_byte + 256 || tokenizer.vocabulary() > 1 << 16) refuse(path, file);
    return tokenizer;
  }

  int vocabulary() const { return static_cast<int>(pieces_.size()); }

  /// Characters (or, where the table has none, their bytes) with a space in front, then merged pair by pair, the best
  /// score first, of equal scores the first pair. Without the begin token. n log n steps for n characters.
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
    return merged(std::move(ids));
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
  static constexpr std::size_t longest_file = std::size_t{1} << 24;  ///< 256 bytes for each token that there can be
  struct Piece {
    std::string text;
    float score;
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Ids = std::unordered_map<std::string, int, Hash, std::equal_to<>>;

  /// Two neighbours that may become one piece.
  struct Merge {
    float score;
    std::size_t left;           ///< place of the first
    Token first, second, both;  ///< ids

    /// Whether `other` comes first: the better score, then the place further left.
    friend bool operator<(const Merge& merge, const Merge& other) {
      return merge.score != other.score ? merge.score < other.score : merge.left > other.left;
    }
  };

  [[noreturn]] static void refuse(const std::filesystem::path& path, std::string_view file) {
    const std::string known = foreign_file(file);
    throw FileError(path.string() + ": " +
                    (!known.empty() ? known
                                    : "is not a whole llama2.c tokenizer; give the .bin file that belongs to the "
                                      "model"));
  }

  /// The pieces stay at the place of their first character, linked to their neighbours; the pairs wait in a queue,
  /// where a pair that is no more is passed over.
  std::vector<Token> merged(std::vector<Token> ids) const {
    const std::size_t none = ids.size();
    std::vector<std::size_t> before(none), after(none);
    std::priority_queue<Merge> queue;
    std::string both;
    const auto offer = [&](std::size_t left) {
      if (left == none || after[left] == none) return;
      const Token first = ids[left], second = ids[after[left]];
      both.assign(pieces_[first].text).append(pieces_[second].text);
      if (const auto found = ids_.find(both); found != ids_.end())
        queue.push({pieces_[static_cast<std::size_t>(found->second)].score, left, first, second,
                    static_cast<Token>(found->second)});
    };
    for (std::size_t place = 0; place < none; ++place) {
      before[place] = place == 0 ? none : place - 1;
      after[place] = place + 1;
    }
    for (std::size_t place = 0; place < none; ++place) offer(place);
    while (!queue.empty()) {
      const Merge merge = queue.top();
      queue.pop();
      const std::size_t left = merge.left, right = after[left];
      if (right == none || ids[left] != merge.first || ids[right] != merge.second) continue;
      ids[left] = merge.both;
      after[left] = after[right];
      if (after[left] != none) before[after[left]] = left;
      after[right] = none;  // so that pairs which begin there are passed over
      offer(before[left]);
      offer(left);
    }
    std::vector<Token> pieces;
    for (std::size_t place = 0; place < none; place = after[place]) pieces.push_back(ids[place]);
    return pieces;
  }

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
