// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <fathom/score/bleu.hpp>
#include <string>
#include <support/temporary_directory.hpp>
#include <vector>

namespace bleu_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinRel;
using score::bleu, score::Smoothing, score::Tokenization;
using Text = std::vector<std::string>;

TEST_CASE("BLEU of a sentence by hand", "[score]") {
  const Text hypothesis{"the cat sat on the mat"}, reference{"the cat is on the mat"};
  const auto result = bleu(hypothesis, reference);
  CHECK(result.statistics == score::BleuStatistics{6, 6, {5, 3, 1, 0}, {6, 5, 4, 3}});
  CHECK_THAT(result.score, WithinRel(100 * std::pow(5. / 6 * 3 / 5 * 1 / 4 * (1. / 2) / 3, 0.25), 1e-14));
  CHECK(result.text() ==
        "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:fathom-" FATHOM_VERSION
        " = 37.99 83.3/60.0/25.0/16.7 (BP = 1.000 ratio = 1.000 hyp_len = 6 ref_len = 6)");
  CHECK(bleu(hypothesis, reference, {.smoothing = Smoothing::none}).score == 0);
  CHECK(bleu(hypothesis, hypothesis).text(1).ends_with(
      " = 100.0 100.0/100.0/100.0/100.0 (BP = 1.000 ratio = 1.000 hyp_len = 6 ref_len = 6)"));
}

TEST_CASE("an n-gram counts as often as one reference has it", "[score]") {
  const Text hypothesis{"the the the the"}, first{"the cat the"}, second{"a the"};
  CHECK(bleu(hypothesis, {first, second}).statistics.matches[0] == 2);
  CHECK(bleu(hypothesis, {second, first}).statistics.matches[0] == 2);
  CHECK(bleu(hypothesis, std::vector{first, second}).text().starts_with("BLEU|nrefs:2|"));
}

TEST_CASE("the closest reference length counts, the shorter of two", "[score]") {
  const Text hypothesis{"a b c"};
  CHECK(bleu(hypothesis, {Text{"a"}, Text{"a b c d"}}).statistics.reference_length == 4);
  CHECK(bleu(hypothesis, {Text{"a b c d"}, Text{"a b"}}).statistics.reference_length == 2);
  CHECK(bleu(hypothesis, {Text{"a b"}, Text{"a b c d"}}).statistics.reference_length == 2);
}

TEST_CASE("signatures say what was chosen", "[score]") {
  const auto signature = [](const score::BleuOptions& options) { return score::Bleu(options).signature(1); };
  CHECK_THAT(signature({.tokenizer = Tokenization::international, .lowercase = true, .effective_order = true}),
             ContainsSubstring("|case:lc|eff:yes|tok:intl|smooth:exp|"));
  CHECK_THAT(signature({.smoothing = Smoothing::floor}), ContainsSubstring("|smooth:floor[0.10]|"));
  CHECK_THAT(signature({.smoothing = Smoothing::add_k, .smoothing_value = 0.5}),
             ContainsSubstring("|smooth:add-k[0.50]|"));
  CHECK(score::Bleu().signature(2, score::BootstrapOptions{.resamples = 300, .seed = 7}) ==
        "nrefs:2|bs:300|seed:7|case:mixed|eff:no|tok:13a|smooth:exp|version:fathom-" FATHOM_VERSION);
}

TEST_CASE("a sentence that is too short for four words has a BLEU of its own", "[score]") {
  CHECK_THAT(score::sentence_bleu("a b", "a b").score, WithinRel(100, 1e-14));
  CHECK_THAT(score::sentence_bleu("a b", {"x", "a b"}).score, WithinRel(100, 1e-14));
  CHECK(score::sentence_bleu("a b", "a b", {}).score == 0);
  CHECK(score::sentence_bleu("", "a b").score == 0);
  CHECK(score::sentence_bleu("a b", "").score == 0);
  CHECK_THAT(score::sentence_bleu("a b", "a b").signature, ContainsSubstring("eff:yes"));
}

TEST_CASE("what cannot be scored is refused in one line", "[score]") {
  const Text two{"a", "b"}, three{"a", "b", "c"}, bytes{"a", "b\xff"};
  CHECK_THAT(message_of<ShapeError>([&] { bleu(two, three); }),
             ContainsSubstring("2 hypotheses, but reference 1 has 3 lines"));
  CHECK_THAT(message_of<ShapeError>([&] { bleu(Text{}, Text{}); }), ContainsSubstring("no hypotheses"));
  CHECK_THAT(message_of<ShapeError>([&] { bleu(two, std::vector<Text>{}); }), ContainsSubstring("no references"));
  CHECK_THAT(message_of<Error>([&] { bleu(bytes, two); }),
             ContainsSubstring("BLEU: line 2 of the hypotheses is not UTF-8 at byte 2"));
  CHECK_THAT(message_of<Error>([&] { bleu(two, {two, bytes}); }),
             ContainsSubstring("BLEU: line 2 of reference 2 is not UTF-8"));
  CHECK_THAT(message_of<Error>([] { score::sentence_bleu("a\x80", "a"); }),
             ContainsSubstring("the hypothesis is not UTF-8 at byte 2"));
  CHECK_THAT(message_of<Error>([] { score::Bleu({.smoothing_value = 0.5}); }), ContainsSubstring("exp takes no value"));
  CHECK_THAT(message_of<Error>([] { score::Bleu({.smoothing = Smoothing::floor, .smoothing_value = -1}); }),
             ContainsSubstring("0 or more"));
}

}  // namespace bleu_test
