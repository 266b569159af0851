// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/text/cleaning.hpp>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace cleaning_test {

using namespace fathom;
using text::Cleaner;

text::ParallelText pairs_of(std::string name, std::initializer_list<std::pair<std::string, std::string>> pairs) {
  text::ParallelText text;
  text.name = std::move(name);
  for (const auto& [source, target] : pairs) text.append(source, target);
  return text;
}

std::string text_of(const text::ParallelText& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i)
    result += std::string(text.source[i]) + "=" + std::string(text.target[i]) + "|";
  return result;
}

TEST_CASE("a pair counts under the first reason to drop it", "[cleaning]") {
  Cleaner cleaner({.longest_words = 3, .longest_characters = 20, .ratio = 2, .drop_identical = true});
  const text::ParallelText text = pairs_of("a", {{"a b c", "d e f"},
                                                 {" a b c\t", "d e f"},  // the same without white space at the ends
                                                 {"", "d"},
                                                 {"a", " \t "},
                                                 {"a b c d", "e"},
                                                 {"a", "bbbbbbbbbbbbbbbbbbbbb"},
                                                 {"aa", "bbbb"},
                                                 {"aa", "bbbbb"},
                                                 {"ää", "bbbb"},  // characters count, not bytes
                                                 {"same", "same"},
                                                 {"a b c", "d e g"}});
  const text::ParallelText kept = cleaner(text);
  CHECK(text_of(kept) == "a b c=d e f|aa=bbbb|ää=bbbb|a b c=d e g|");
  CHECK(kept.name == "a");
  REQUIRE(cleaner.reports().size() == 1);
  const text::CleaningReport& report = cleaner.reports()[0];
  CHECK(report.pairs == 11);
  CHECK(report.empty == 2);
  CHECK(report.too_long == 2);
  CHECK(report.ratio == 1);
  CHECK(report.identical == 1);
  CHECK(report.duplicate == 1);
  CHECK(report.kept() == kept.size());
}

TEST_CASE("limits of 0 are none, and what an option does not ask for stays", "[cleaning]") {
  Cleaner cleaner({.longest_words = 0, .longest_characters = 0, .ratio = 0, .drop_duplicates = false});
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "word ";
  const text::ParallelText kept =
      cleaner(pairs_of("a", {{"a", many}, {"a", many}, {"same", "same"}, {"", "b"}, {"a", ""}}));
  CHECK(kept.size() == 3);
  CHECK(cleaner.reports()[0].empty == 2);
  CHECK_THROWS_AS(Cleaner({.ratio = 0.5}), Error);
  CHECK_THROWS_AS(Cleaner({.ratio = std::numeric_limits<double>::quiet_NaN()}), Error);
}

TEST_CASE("duplicates are known across texts, and a pair with another side is none", "[cleaning]") {
  Cleaner cleaner;
  CHECK(cleaner(pairs_of("a", {{"a", "b"}, {"b", "a"}, {"a", "c"}, {"ab", "c"}, {"a", "bc"}})).size() == 5);
  CHECK(text_of(cleaner(pairs_of("b", {{"a", "b"}, {"a", "d"}, {"a", "d"}}))) == "a=d|");
  CHECK(cleaner.reports()[1].duplicate == 2);
}

TEST_CASE("the reports are a table with sums", "[cleaning]") {
  Cleaner cleaner;
  cleaner(pairs_of("first", {{"a", "b"}, {"", "b"}}));
  const auto one = text::table(cleaner.reports());
  REQUIRE(one.size() == 2);
  CHECK(one[0] == "       pairs  kept  empty  too long  ratio  identical  duplicate  tokens");
  CHECK(one[1] == "first      2     1      1         0      0          0          0       0");
  text::CleaningReport large{.name = "l\ng", .pairs = 1'234'567, .ratio = 1'000, .too_many_tokens = 67};
  const auto two = text::table(std::vector<text::CleaningReport>{cleaner.reports()[0], large});
  REQUIRE(two.size() == 4);
  CHECK(two[2] == "l?g    1,234,567  1,233,500      0         0  1,000          0          0      67");
  CHECK(two[3] == "all    1,234,569  1,233,501      1         0  1,000          0          0      67");
}

}  // namespace cleaning_test
