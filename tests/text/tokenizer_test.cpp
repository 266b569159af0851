// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/text/tokenizer.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tokenizer_test {

using namespace fathom;

struct Words : text::Bytes {
  using Token = std::string;  // no integer
  static std::vector<Token> encode(std::string_view);
};
struct WideTokens : text::Bytes {
  using Token = int;  // encode gives bytes
};
struct NoVocabulary : text::Bytes {
  void vocabulary();
};
struct EncodesChanging : text::Bytes {
  std::vector<Token> encode(std::string_view);  // not of a constant tokenizer
};
struct DecodesBytes : text::Bytes {
  static std::string decode(std::span<const Token>);  // models speak int
};
static_assert(!text::Tokenizer<int> && !text::Tokenizer<Words> && !text::Tokenizer<WideTokens>);
static_assert(!text::Tokenizer<NoVocabulary> && !text::Tokenizer<EncodesChanging> && !text::Tokenizer<DecodesBytes>);

TEST_CASE("bytes encode every text and give it back", "[tokenizer]") {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text += static_cast<char>(byte);
  const auto encoded = text::Bytes::encode(text);
  CHECK(encoded.size() == 256);
  CHECK(encoded[255] == 255);
  const std::vector<int> ids(encoded.begin(), encoded.end());
  CHECK(text::Bytes::decode(ids) == text);
  CHECK_THROWS_AS(text::Bytes::decode(std::vector<int>{256}), Error);
  CHECK_THROWS_AS(text::Bytes::decode(std::vector<int>{-1}), Error);
}

}  // namespace tokenizer_test
