// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/io/gzip.hpp>
#include <fathom/text/cleaning.hpp>
#include <fathom/text/lines.hpp>
#include <fathom/text/pair_batches.hpp>
#include <fathom/text/pairs.hpp>
#include <fathom/text/parallel.hpp>
#include <fathom/text/subwords.hpp>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <support/data.hpp>
#include <support/temporary_directory.hpp>
#include <vector>

namespace subwords_test {

using namespace fathom;
using namespace fathom_test;
using namespace std::string_view_literals;
using Catch::Matchers::ContainsSubstring;
using text::SubwordModel;
using text::SubwordOptions;
using text::Subwords;

/// Sentences of an invented language with words of a few syllables.
std::vector<std::string> sentences(std::size_t count, unsigned seed = 1) {
  std::minstd_rand draw(seed);
  const char* const syllables[]{"ba", "lo", "mi", "tor", "ä", "schn", "ei", "qu", "en", "st"};
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < count; ++i) {
    std::string line;
    for (auto words = 3 + draw() % 8; words > 0; --words) {
      for (auto parts = 1 + draw() % 3; parts > 0; --parts) line += syllables[draw() % 10];
      line += words > 1 ? " " : ".";
    }
    lines.push_back(line);
  }
  return lines;
}

std::vector<std::string_view> views(const std::vector<std::string>& lines) { return {lines.begin(), lines.end()}; }

Subwords trained(const SubwordOptions& options, std::size_t count = 500) {
  const auto lines = sentences(count);
  return Subwords::train(views(lines), options);
}

TEST_CASE("a trained model has the vocabulary asked for, special tokens first", "[subwords]") {
  for (const SubwordModel model : {SubwordModel::bpe, SubwordModel::unigram}) {
    const Subwords subwords = trained({.vocabulary = 330, .model = model, .symbols = {"<2de>", "<2fr>"}});
    CHECK(subwords.vocabulary() == 330);
    CHECK(subwords.unknown() == 0);
    CHECK(subwords.begin() == 1);
    CHECK(subwords.end() == 2);
    CHECK(subwords.padding() == 3);
    CHECK(subwords.id("<2de>") == 4);
    CHECK(subwords.id("<2fr>") == 5);
    CHECK(subwords.piece(5) == "<2fr>");
    CHECK(subwords.id("<unk>") == 0);
    CHECK_THAT(message_of<Error>([&] { subwords.id("<2cs>"); }), ContainsSubstring("'<2cs>' is not in the vocabulary"));
    CHECK_THROWS_AS(subwords.piece(330), Error);
    CHECK(subwords.encode("").empty());
    const auto ids = subwords.encode("lomi <2de> tor");
    CHECK(std::ranges::count(ids, 4) == 1);
  }
}

TEST_CASE("training is deterministic, and a sample of the lines follows from the seed", "[subwords]") {
  for (const SubwordModel model : {SubwordModel::bpe, SubwordModel::unigram}) {
    SubwordOptions options{.vocabulary = 330, .model = model};
    CHECK(trained(options).model() == trained(options).model());
    CHECK(trained(options).checksum() == trained(options).checksum());
    const auto all = trained(options).model();
    options.most_lines = 200;
    CHECK(trained(options).model() == trained(options).model());
    CHECK(trained(options).model() != all);
    const auto first = trained(options).model();
    options.seed = 1;
    CHECK(trained(options).model() != first);
  }
}

TEST_CASE("decoding gives back what was encoded", "[subwords]") {
  const auto lines = sentences(300, 7);
  for (const SubwordModel model : {SubwordModel::bpe, SubwordModel::unigram}) {
    const Subwords subwords = trained({.vocabulary = 330, .model = model});
    for (const std::string& line : lines) {
      const auto ids = subwords.encode(line);
      CHECK(ids.size() < line.size());
      REQUIRE(subwords.decode(ids) == line);
    }
    // Bytes stand in for characters that the training had not; compatible characters and white space become one form.
    CHECK(subwords.decode(subwords.encode("дом 家 🙂")) == "дом 家 🙂");
    CHECK(subwords.decode(subwords.encode("  ﬁn\u00A0e  x ")) == "fin e x");
    std::vector<int> ids{subwords.begin()};
    for (const int id : subwords.encode("lo mi")) ids.push_back(id);
    ids.push_back(subwords.end());
    ids.push_back(subwords.padding());
    CHECK(subwords.decode(ids) == "lo mi");
    CHECK_THROWS_AS(subwords.decode(std::vector<int>{330}), Error);
    CHECK_THROWS_AS(subwords.decode(std::vector<int>{-1}), Error);
  }
}

TEST_CASE("without normalizing, any text comes back as it is", "[subwords]") {
  std::minstd_rand draw(5);
  for (const SubwordModel model : {SubwordModel::bpe, SubwordModel::unigram}) {
    const Subwords subwords = trained({.vocabulary = 330, .model = model, .normalize = false});
    const std::vector<std::string> parts{" ", "  ", "ä", "lo", "ﬁ", "\u00A0", "家", "🙂", "\t", "x\u0301", "<s>", "\r"};
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (auto count = draw() % 12; count > 0; --count) text += parts[draw() % parts.size()];
      CAPTURE(text);
      REQUIRE(subwords.decode(subwords.encode(text)) == text);
    }
  }
}

TEST_CASE("an encoder that remembers words gives what encoding gives", "[subwords]") {
  const std::vector<std::string> parts{
      " ",      "  ",     "lo",     "mi",     "ä",      "tor",    "A",      "<2de>",  "<s>",    "<0x41>", "家",  "🙂",
      "\t",     "\r",     "\v",     "\x01",   "ﬁ",      "\u0085", "\u00A0", "\u00A8", "\u00AD", "\u00B4", "x\u0301",
      "\u0301", "\u0308", "\u1680", "\u200B", "\u2028", "\u2581", "\u3000", "\u3099", "か",     "\uFF9E", "\uFEFF"};
  for (const SubwordModel model : {SubwordModel::bpe, SubwordModel::unigram}) {
    for (const bool byte_fallback : {true, false}) {
      for (const bool normalize : {true, false}) {
        const Subwords subwords = trained({.vocabulary = 330,
                                           .model = model,
                                           .byte_fallback = byte_fallback,
                                           .symbols = {"<2de>"},
                                           .normalize = normalize},
                                          2000);
        Subwords::Encoder encoder = subwords.encoder();
        for (const std::string& line : sentences(200, 9)) REQUIRE(encoder(line) == subwords.encode(line));
        std::minstd_rand draw(3);
        for (int round = 0; round < 2000; ++round) {
          std::string text;
          for (auto count = draw() % 10; count > 0; --count) text += parts[draw() % parts.size()];
          CAPTURE(text);
          REQUIRE(encoder(text) == subwords.encode(text));
        }
        CHECK_THROWS_AS(encoder("lo\xFF"), Error);
      }
    }
  }
}

TEST_CASE("without bytes, what the training had not is unknown", "[subwords]") {
  const Subwords subwords = trained({.vocabulary = 100, .byte_fallback = false});
  const auto ids = subwords.encode("家");
  CHECK(std::ranges::count(ids, subwords.unknown()) == 1);
  CHECK(subwords.decode(ids).find("⁇") != std::string::npos);
}

TEST_CASE("text that is not UTF-8 is refused with the place", "[subwords]") {
  const Subwords subwords = trained({.vocabulary = 330});
  CHECK_THAT(message_of<Error>([&] { subwords.encode("lomi\xFF"); }), ContainsSubstring("not UTF-8 at byte 4"));
  CHECK_THAT(message_of<Error>([&] { Subwords::train(std::vector<std::string_view>{"a", "\xFF"}); }),
             ContainsSubstring("line 2 to train on is not UTF-8"));
}

TEST_CASE("a vocabulary that lines cannot have is refused with what they can", "[subwords]") {
  for (const SubwordModel model : {SubwordModel::bpe, SubwordModel::unigram}) {
    const auto message = message_of<Error>([&] { trained({.vocabulary = 32'000, .model = model}, 50); });
    CAPTURE(message);
    CHECK_THAT(message, ContainsSubstring("a vocabulary of 32000 is too large for these lines, of which "));
    const int possible = std::stoi(message.substr(message.find("of which ") + 9));
    CHECK(trained({.vocabulary = possible, .model = model}, 50).vocabulary() == possible);
    CHECK_THAT(message_of<Error>([&] { trained({.vocabulary = 50, .model = model}); }),
               ContainsSubstring("a vocabulary of 50 is too small: characters, bytes and special tokens are "));
    CHECK_THAT(message_of<Error>([&] { Subwords::train({}, {.model = model}); }),
               ContainsSubstring("there are no lines to train on"));
    const std::vector<std::string_view> empty(10, "");
    CHECK_THAT(message_of<Error>([&] { Subwords::train(empty, {.model = model}); }),
               ContainsSubstring("there are no lines to train on"));
  }
}

TEST_CASE("options that cannot be are refused", "[subwords]") {
  CHECK_THROWS_AS(trained({.vocabulary = 0}), Error);
  CHECK_THROWS_AS(trained({.character_coverage = 1.5}), Error);
  CHECK_THROWS_AS(trained({.character_coverage = 0}), Error);
  CHECK_THROWS_AS(trained({.most_lines = 0}), Error);
  for (const char* symbol : {"", "a b", "a,b", "\xFF"}) CHECK_THROWS_AS(trained({.symbols = {symbol}}), Error);
  CHECK_THROWS_AS(trained({.symbols = {"<2de>", "<2de>"}}), Error);
  CHECK_THROWS_AS(trained({.symbols = {"<unk>"}}), Error);
}

TEST_CASE("a model is saved and loaded, and known again", "[subwords]") {
  const TemporaryDirectory folder;
  const Subwords subwords = trained({.vocabulary = 330}), other = trained({.vocabulary = 330}, 400);
  subwords.save(folder / "a.model");
  const Subwords loaded = Subwords::from_file(folder / "a.model");
  CHECK(loaded.model() == subwords.model());
  CHECK(loaded.encode("lomi tor") == subwords.encode("lomi tor"));
  loaded.require(330, subwords.checksum(), "the checkpoint");
  CHECK_THAT(message_of<Error>([&] { loaded.require(400, subwords.checksum(), "the checkpoint"); }),
             ContainsSubstring("the checkpoint has a vocabulary of 400, the subword model one of 330; give the"));
  CHECK_THAT(message_of<Error>([&] { loaded.require(330, other.checksum(), "the checkpoint"); }),
             ContainsSubstring("the checkpoint was trained with another subword model of 330 pieces; give the"));
}

TEST_CASE("a file that is no sentencepiece model is refused", "[subwords]") {
  const TemporaryDirectory folder;
  const std::string model = trained({.vocabulary = 330}).model();
  const auto refused = [&](std::string_view content, const std::string& message) {
    CHECK_THAT(message_of<FileError>([&] { Subwords::from_file(folder.write("a.model", content)); }),
               ContainsSubstring("a.model: " + message));
  };
  const std::string no_model = "is not a whole sentencepiece model; give the .model file";
  refused("", "is empty");
  refused("some text\n", no_model);
  refused("\nsome text\n", no_model);
  refused("<unk>\t0\n<s>\t0\n", no_model);
  refused("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "is a pointer of git-lfs");
  refused(model.substr(0, 100), no_model);
  refused(model.substr(0, model.size() - 1), no_model);
  CHECK_THAT(message_of<FileError>([&] { Subwords::from_file(folder / "none"); }), ContainsSubstring("cannot open"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(message_of<FileError>([&] { Subwords::from_file(folder / "pipe"); }),
             ContainsSubstring("pipe: is not a regular file"));
  const auto huge = folder.write("huge.model", model);
  std::filesystem::resize_file(huge, std::uintmax_t{1} << 34);
  CHECK_THAT(message_of<FileError>([&] { Subwords::from_file(huge); }), ContainsSubstring("huge.model: " + no_model));
}

#if __has_include(<zlib.h>)

TEST_CASE("from two files to batches: Multi30k, tokenized", "[subwords]") {
  const std::string prefix = data("multi30k/tok").string() + "/val.lc.norm.tok";
  text::Cleaner cleaner;
  const std::vector<text::ParallelText> texts{cleaner(text::read_moses(prefix, "en", "de"))};
  CHECK(texts[0].size() > 1'000);
  const auto lines = text::all_lines(texts);
  const Subwords subwords = Subwords::train(lines, {.vocabulary = 3'000});
  const text::PairEncoding options{.begin = subwords.begin(), .end = subwords.end()};
  const auto corpus = text::encode_pairs(subwords, texts[0], options);
  REQUIRE(corpus.size() == texts[0].size());
  std::size_t equal = 0;
  for (std::size_t i = 0; i < corpus.size(); ++i) {
    const auto source = corpus.source.document(i), target = corpus.target.document(i);
    REQUIRE(source.back() == subwords.end());
    REQUIRE(target.front() == subwords.begin());
    equal += subwords.decode(source) == texts[0].source[i] && subwords.decode(target) == texts[0].target[i] ? 1 : 0;
  }
  CHECK(equal > corpus.size() - 20);  // some lines have compatible characters
  const text::PairBatches<int> batches(corpus, {.source_rows = 512, .target_rows = 512});
  CHECK(batches.epoch() == corpus.size());
  std::size_t count = 0;
  for (std::uint64_t cursor = 0; cursor < batches.epoch(); ++count)
    cursor = batches.select(cursor, [](text::PairPlace) {});
  const std::size_t fewest = std::max(corpus.source.tokens.size(), corpus.target.tokens.size()) / 512;
  CHECK(count >= fewest);
  CHECK(count < fewest + fewest / 10);
}

#endif

TEST_CASE("the model of sentencepiece's own tests encodes as it does there", "[subwords]") {
  const auto folder = data("tokenizers/sentencepiece_test");
  const Subwords subwords = Subwords::from_file(folder / "test_model.model");
  CHECK(subwords.vocabulary() == 1000);
  CHECK(subwords.begin() == 1);
  CHECK(subwords.end() == 2);
  CHECK(subwords.padding() == Subwords::none);
  // From the Python wrapper's README.
  CHECK(subwords.encode("This is a test") == std::vector<int>{284, 47, 11, 4, 15, 400});
  CHECK(subwords.decode(std::vector<int>{284, 47, 11, 4, 15, 400}) == "This is a test");
#if __has_include(<zlib.h>)
  const text::Lines novel = text::read_lines(folder / "botchan.txt.gz");
  for (std::size_t i = 0; i < novel.size(); ++i) {
    const auto ids = subwords.encode(novel[i]);
    const std::string once = subwords.decode(ids);
    if (!std::ranges::count(ids, subwords.unknown())) REQUIRE(subwords.encode(once) == ids);
  }
#endif
}

}  // namespace subwords_test
