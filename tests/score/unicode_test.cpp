// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/score/unicode.hpp>
#include <string>
#include <vector>

namespace unicode_test {

using namespace fathom::score::unicode;

TEST_CASE("UTF-8 is decoded to what encodes it, and only that", "[score]") {
  std::u32string points;
  for (const std::u32string text :
       {U"", U"a\x7f", U"\x80\x7ff", U"\x800\xd7ff\xe000\xffff", U"\x10000\x10ffff"}) {
    std::string bytes;
    for (const char32_t point : text) append(bytes, point);
    CHECK(!decode(bytes, points));
    CHECK(points == text);
  }
  for (const std::string invalid :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x7f", "\xc2\xc0", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf0\x90\x80", "\xff"}) {
    CHECK(decode(invalid, points) == 0);
    CHECK(decode("aä" + invalid + "x", points) == 3);
  }
}

TEST_CASE("spaces are cut off the end whatever their size", "[score]") {
  CHECK(without_spaces_behind("a \t\n\x1c\x85") == "a \t\n\x1c\x85");  // the last is no UTF-8, so no space
  CHECK(without_spaces_behind("a\u00a0\u2003\u3000\u0085 ") == "a");
  CHECK(without_spaces_behind("\u3000 ").empty());
  CHECK(without_spaces_behind("") == "");
  CHECK(without_spaces_behind("ä\u200b") == "ä\u200b");
  std::vector<std::string_view> words;
  split("\u3000a\u2028b  c\u00a0", words);
  CHECK(words == std::vector<std::string_view>{"a", "b", "c"});
}

TEST_CASE("a capital sigma at the end of a word is a final one", "[score]") {
  CHECK(lower(U"ΟΔΥΣΣΕΥΣ Σ ΑΣ") == U"οδυσσευς σ ας");
  CHECK(lower(U"ΑΣ'Α ΑΣ'") == U"ασ'α ας'");  // the apostrophe is looked beyond
  CHECK(lower(U"İI") == U"i\u0307i");
}

}  // namespace unicode_test
