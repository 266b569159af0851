// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/pairs.hpp>
#include <string>
#include <support/temporary_directory.hpp>
#include <vector>

namespace pairs_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

text::ParallelText numbers(std::size_t count) {
  text::ParallelText text;
  text.name = "numbers";
  for (std::size_t i = 0; i < count; ++i)
    text.append(std::to_string(i), std::string(i % 7, 'x') + std::to_string(2 * i));
  return text;
}

std::string text_of(std::span<const std::uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

TEST_CASE("both sides are encoded in their order, by any number of threads", "[pairs][threads]") {
  const text::ParallelText text = numbers(5000);
  const auto one = text::encode_pairs(text::Bytes{}, text, {.begin = '<', .end = '>', .threads = 1});
  REQUIRE(one.size() == 5000);
  CHECK(one.name == "numbers");
  CHECK(one.end == '>');
  CHECK(text_of(one.source.document(4321)) == "4321>");
  CHECK(text_of(one.target.document(4321)) == "<xx8642");
  for (const int threads : {0, 2, 3, 16}) {
    const auto more = text::encode_pairs(text::Bytes{}, text, {.begin = '<', .end = '>', .threads = threads});
    CHECK(more.source.tokens == one.source.tokens);
    CHECK(more.source.offsets == one.source.offsets);
    CHECK(more.target.tokens == one.target.tokens);
    CHECK(more.target.offsets == one.target.offsets);
  }
}

TEST_CASE("a prefix stands in front of every source", "[pairs]") {
  const auto corpus = text::encode_pairs(text::Bytes{}, numbers(3), {.begin = '<', .end = '>', .source_prefix = '#'});
  CHECK(text_of(corpus.source.document(2)) == "#2>");
  CHECK(text_of(corpus.target.document(2)) == "<xx4");
}

TEST_CASE("tokens that the tokenizer has not are refused", "[pairs]") {
  const auto refused = [](const text::PairEncoding& options, const char* message) {
    CHECK_THAT(message_of<Error>([&] { text::encode_pairs(text::Bytes{}, numbers(3), options); }),
               ContainsSubstring(message));
  };
  refused({}, "the begin token -1 is not in the vocabulary of 256");
  refused({.begin = 1, .end = 256}, "the end token 256 is not");
  refused({.begin = 1, .end = 1, .source_prefix = 300}, "the prefix token 300 is not");
}

TEST_CASE("pairs with more tokens than a side may have are left out and counted", "[pairs]") {
  text::PairEncoding options{.begin = '<', .end = '>', .longest_source = 4};
  const auto source = text::encode_pairs(text::Bytes{}, numbers(2000), options);
  CHECK(source.size() == 1000);
  CHECK(source.too_long == 1000);
  options.source_prefix = '#';
  CHECK(text::encode_pairs(text::Bytes{}, numbers(2000), options).size() == 100);
  options = {.begin = '<', .end = '>', .longest_target = 6, .threads = 2};
  const auto target = text::encode_pairs(text::Bytes{}, numbers(2000), options);
  CHECK(target.size() + target.too_long == 2000);
  for (std::size_t i = 0; i < target.size(); ++i) REQUIRE(target.target.document(i).size() <= 6);
}

TEST_CASE("text that a tokenizer refuses is named with its pair and side", "[pairs]") {
  const auto digits = text::Characters::of("0123456789x");
  text::ParallelText text = numbers(3000);
  text.append("1", "y");
  CHECK_THAT(message_of<Error>([&] { text::encode_pairs(digits, text, {.begin = 0, .end = 0, .threads = 2}); }),
             ContainsSubstring("numbers: target of pair 3001: Characters: 'y'"));
}

TEST_CASE("all lines of texts are viewed", "[pairs]") {
  const std::vector<text::ParallelText> texts{numbers(2), numbers(1)};
  CHECK(text::all_lines(texts) == std::vector<std::string_view>{"0", "1", "0", "x2", "0", "0"});
}

}  // namespace pairs_test
