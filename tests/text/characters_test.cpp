// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/text/characters.hpp>
#include <string>
#include <support/temporary_directory.hpp>
#include <vector>

namespace characters_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using text::Characters;

TEST_CASE("characters are numbered in the order of their code points", "[characters]") {
  const Characters characters = Characters::of("hello wörld 😀\n");
  CHECK(characters.table() == "\n dehlorwö😀");
  CHECK(characters.vocabulary() == 11);
  CHECK(characters.encode("😀 röd") == std::vector<Characters::Token>{10, 1, 7, 9, 2});
  CHECK(characters.decode(std::vector<int>{10, 1, 7, 9, 2}) == "😀 röd");
  CHECK(Characters::of(characters.table()).encode("wo") == characters.encode("wo"));
}

TEST_CASE("text without its characters is refused", "[characters]") {
  const Characters characters = Characters::of("abc");
  CHECK_THAT(message_of<Error>([&] { characters.encode("abxc"); }), ContainsSubstring("'x' at byte 2 does not occur"));
  CHECK_THAT(message_of<Error>([&] { characters.encode("a\xff"); }), ContainsSubstring("not UTF-8 at byte 1"));
  CHECK_THAT(message_of<Error>([] { Characters::of(""); }), ContainsSubstring("empty"));
  CHECK_THROWS_AS(characters.decode(std::vector<int>{3}), Error);
}

TEST_CASE("UTF-8 is what RFC 3629 says", "[characters]") {
  for (const std::string valid : {"a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                  "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    CHECK(text::first_character(valid + "x") == valid);
  for (const std::string invalid :
       {"", "\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x7f", "\xc2\xc0", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf0\x90\x80", "\xff"})
    CHECK(text::first_character(invalid).empty());
}

TEST_CASE("more characters than a token can number are refused", "[characters]") {
  std::string text;
  for (unsigned point = 0x10000; point <= 0x20000; ++point) {
    text += static_cast<char>(0xF0 | point >> 18);
    text += static_cast<char>(0x80 | (point >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (point & 0x3F));
  }
  CHECK_THAT(message_of<Error>([&] { Characters::of(text); }), ContainsSubstring("65537 distinct characters"));
  CHECK(Characters::of(std::string_view(text).substr(4)).vocabulary() == 65536);
}

TEST_CASE("the whole characters at the beginning of a text are counted in bytes", "[characters]") {
  for (const std::string text : {"", "a", "sixteen letters.", "für ß 家 🙂 and some more of ASCII", "ää"}) {
    CHECK(text::valid_utf8(text) == text.size());
    for (const std::string bad : {"\x80", "\xC0\x80", "\xED\xA0\x80", "\xF5", "\xE5\xAE"}) {
      CHECK(text::valid_utf8(text + bad) == text.size());
      CHECK(text::valid_utf8(text + bad + "sixteen letters.") == text.size());
    }
  }
}

}  // namespace characters_test
