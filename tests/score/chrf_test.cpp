// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/score/chrf.hpp>
#include <string>
#include <support/temporary_directory.hpp>
#include <vector>

namespace chrf_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinRel;
using score::chrf, score::sentence_chrf;
using Text = std::vector<std::string>;

TEST_CASE("chrF of a word by hand", "[score]") {
  // abcd and abce: 3 of 4 characters, 2 of 3 pairs, 1 of 2 triples, none of four; longer ones do not count
  const auto result = sentence_chrf("ab cd", "abce");
  CHECK_THAT(result.score, WithinRel(100 * (3. / 4 + 2. / 3 + 1. / 2) / 4, 1e-14));
  CHECK(result.statistics.orders[1] == score::ChrfStatistics::Order{3, 3, 2});
  CHECK(result.statistics.orders[4] == score::ChrfStatistics::Order{});
  CHECK(result.text(1) ==
        "chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:fathom-" FATHOM_VERSION " = 47.9");
}

TEST_CASE("characters are those of Unicode, not bytes", "[score]") {
  CHECK(sentence_chrf("ä", "ö").score == 0);
  CHECK(sentence_chrf("ÄÖ", "äö", {.lowercase = true}).score == 100);
  CHECK(sentence_chrf("日本", "日本").statistics.orders[0].matches == 2);
}

TEST_CASE("chrF++ counts words with one sign cut off", "[score]") {
  const auto words = [](std::string_view text) {
    return sentence_chrf(text, text, {.character_order = 0, .word_order = 1}).statistics.orders[0].matches;
  };
  CHECK(words("a b") == 2);
  CHECK(words("(hi)") == 2);
  CHECK(words("\"a, .b !") == 5);
  CHECK(words("«a»") == 1);
  CHECK(sentence_chrf("a", "a", {.word_order = 2}).name == "chrF2++");
}

TEST_CASE("the reference with the best score counts", "[score]") {
  const Text hypothesis{"abc"}, near{"abd"}, far{"xyz"};
  CHECK(chrf(hypothesis, {far, near}).score == chrf(hypothesis, near).score);
  CHECK(chrf(hypothesis, {near, far}).score == chrf(hypothesis, near).score);
}

TEST_CASE("orders that nothing can have are refused", "[score]") {
  CHECK_THAT(message_of<Error>([] { score::Chrf({.character_order = 0}); }), ContainsSubstring("not 0 for both"));
  CHECK_THAT(message_of<Error>([] { score::Chrf({.character_order = 11}); }), ContainsSubstring("up to 11 characters"));
  CHECK_THAT(message_of<Error>([] { score::Chrf({.beta = 0}); }), ContainsSubstring("beta of 0"));
  CHECK_THAT(message_of<Error>([] { chrf(Text{"\xff"}, Text{"a"}); }),
             ContainsSubstring("chrF: line 1 of the hypotheses"));
}

}  // namespace chrf_test
