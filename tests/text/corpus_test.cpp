// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/text/characters.hpp>
#include <fathom/text/corpus.hpp>
#include <string>
#include <support/temporary_directory.hpp>
#include <vector>

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

namespace {

text::Corpus<std::uint8_t> corpus_of(std::initializer_list<std::string> documents) {
  text::Corpus<std::uint8_t> corpus;
  for (const std::string& document : documents) corpus.append(text::Bytes::encode(document));
  return corpus;
}

std::string text_of(const text::Corpus<std::uint8_t>& corpus) {
  std::string result;
  for (std::size_t i = 0; i < corpus.documents(); ++i) {
    const auto document = corpus.document(i);
    result += std::string(document.begin(), document.end()) + "|";
  }
  return result;
}

}  // namespace

TEST_CASE("a file is one document, with every byte", "[corpus]") {
  const TemporaryDirectory folder;
  const auto path = folder.write("a.txt", "line\r\n\xff end");
  const auto corpus = text::load(text::Bytes{}, path);
  CHECK(text_of(corpus) == "line\r\n\xff end|");
}

TEST_CASE("a folder is read in the order of its paths", "[corpus]") {
  const TemporaryDirectory folder;
  folder.write("b.txt", "B");
  folder.write("a/z.md", "Z");
  folder.write("a/y.txt", "Y");
  folder.write("a/deep/x.hpp", "X");
  folder.write("binary.txt", std::string("a\0b", 3));
  folder.write("empty.txt", "");
  folder.write(".hidden", "no");
  folder.write(".git/config.txt", "no");
  const text::Documents all = text::read_documents(folder.path());
  CHECK(text_of(text::encode(text::Bytes{}, all)) == "X|Y|Z|B|");
  CHECK(all.skipped == std::vector<std::filesystem::path>{folder / "binary.txt"});
  CHECK(text_of(text::load(text::Bytes{}, folder.path(), {".md", ".hpp"})) == "X|Z|");
}

TEST_CASE("what holds no text is refused in one line", "[corpus]") {
  const TemporaryDirectory folder;
  const auto message = [&](const std::filesystem::path& path, std::vector<std::string> extensions = {}) {
    return message_of<FileError>([&] { text::read_documents(path, extensions); });
  };
  CHECK(message(folder / "none") ==
        (folder / "none").string() + ": cannot open: No such file or directory; check the path");
  CHECK_THAT(message(folder.write("empty.txt", "")), ContainsSubstring("empty.txt: is empty; give a file with text"));
  CHECK_THAT(message(folder.write("binary", std::string("ab\0", 3))),
             ContainsSubstring("binary: has a zero byte at 2"));
  CHECK_THAT(message("/dev/zero"), ContainsSubstring("is a device, which may have no end; give"));
  CHECK_THAT(message(folder.path()), ContainsSubstring("is a folder without text files; give"));
  folder.write("text.txt", "x");
  CHECK_THAT(message(folder.path(), {".md", ".rst"}),
             ContainsSubstring("without text files named *.md or *.rst; give"));
  CHECK(message(folder.path()).empty());
  if (::geteuid() != 0) {
    ::chmod((folder / "text.txt").c_str(), 0);
    CHECK_THAT(message(folder.path()), ContainsSubstring("text.txt: cannot open: Permission denied"));
  }
}

TEST_CASE("the document that a tokenizer refuses is named", "[corpus]") {
  const TemporaryDirectory folder;
  folder.write("a.txt", "aaa");
  folder.write("b.txt", "ab");
  CHECK_THAT(message_of<FileError>([&] { text::load(text::Characters::of("a"), folder.path()); }),
             ContainsSubstring("b.txt: Characters: 'b' at byte 1"));
}

TEST_CASE("a split by tokens keeps the beginning for training", "[corpus]") {
  const auto split = text::split_tokens(corpus_of({"abcd", "efgh", "ij"}), 0.3);
  CHECK(text_of(split.train) == "abcd|efg|");
  CHECK(text_of(split.validation) == "h|ij|");
  const auto even = text::split_tokens(corpus_of({"abcd", "efgh"}), 0.5);
  CHECK(text_of(even.train) == "abcd|");
  CHECK(text_of(even.validation) == "efgh|");
  // nanoGPT: int(0.9 * 1115394)
  text::Corpus<std::uint8_t> large;
  large.append(std::vector<std::uint8_t>(1'115'394));
  CHECK(text::split_tokens(std::move(large), 0.1).train.tokens.size() == 1'003'854);
}

TEST_CASE("a split by documents cuts none", "[corpus]") {
  const auto split = text::split_documents(corpus_of({"abcd", "efgh", "ij"}), 0.3);
  CHECK(text_of(split.train) == "abcd|efgh|");
  CHECK(text_of(split.validation) == "ij|");
  CHECK(text_of(text::split_documents(corpus_of({"a", "bcdefghi"}), 0.1).train) == "a|");
  CHECK_THROWS_AS(text::split_documents(corpus_of({"abcd"}), 0.5), Error);
}

TEST_CASE("a split with an empty part is refused", "[corpus]") {
  for (const double fraction : {0.0, 1.0, 1.5, -1.0})
    CHECK_THAT(message_of<Error>([&] { text::split_tokens(corpus_of({"abcd"}), fraction); }),
               ContainsSubstring("leaves one part empty"));
  CHECK(text_of(text::split_tokens(corpus_of({"abcd"}), 0.01).validation) == "d|");
}
