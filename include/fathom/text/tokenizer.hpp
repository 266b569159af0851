// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// Turns text into tokens and back. `Token` is what a corpus stores, the narrowest integer that holds every id; models,
/// batches and samplers speak `int`.
///
///   vocabulary()    ids are 0, …, vocabulary() - 1
///   encode(text)    throws `Error` for text that the tokenizer has no tokens for
///   decode(ids)     the text; throws `Error` for an id that is not in the vocabulary
template <class T>
concept Tokenizer =
    std::integral<typename T::Token> && requires(const T& tokenizer, std::string_view text, std::span<const int> ids) {
      { tokenizer.vocabulary() } -> std::same_as<int>;
      { tokenizer.encode(text) } -> std::same_as<std::vector<typename T::Token>>;
      { tokenizer.decode(ids) } -> std::same_as<std::string>;
    };

/// Throws `Error` unless id is in {0, …, vocabulary - 1}.
inline void check_id(int id, int vocabulary) {
  if (id < 0 || id >= vocabulary)
    throw Error("decode: token " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(vocabulary));
}

/// A token is a byte. Any text can be encoded, and decoding gives it back.
struct Bytes {
  using Token = std::uint8_t;

  static constexpr int vocabulary() { return 256; }

  static std::vector<Token> encode(std::string_view text) { return {text.begin(), text.end()}; }

  static std::string decode(std::span<const int> ids) {
    std::string text;
    for (const int id : ids) {
      check_id(id, vocabulary());
      text += static_cast<char>(id);
    }
    return text;
  }
};

static_assert(Tokenizer<Bytes>);

}  // namespace fathom::inline FATHOM_ABI::text
