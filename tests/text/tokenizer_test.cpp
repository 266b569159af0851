// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/text/tokenizer.hpp>
#include <string>
#include <vector>

using namespace fathom;

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
