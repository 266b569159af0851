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

namespace corpus_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

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

/// In units of that many bytes, the least significant first or last. Only ASCII.
std::string wide(const std::string& text, std::size_t bytes, bool least_first) {
  std::string result;
  for (const char c : text) {
    std::string unit(bytes, '\0');
    (least_first ? unit.front() : unit.back()) = c;
    result += unit;
  }
  return result;
}

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
  REQUIRE(all.report.left_out.size() == 2);
  CHECK(all.report.left_out[0].path == folder / "binary.txt");
  CHECK(all.report.left_out[1].path == folder / "empty.txt");
  CHECK(text_of(text::load(text::Bytes{}, folder.path(), {".md", ".hpp"})) == "X|Z|");
}

TEST_CASE("what of a folder does not count is named with the reason", "[corpus]") {
  const TemporaryDirectory folder;
  const std::string some = "What is not read should be said.\n";
  folder.write("a.txt", some);
  folder.write("b.txt", "\xFF\xFE" + wide(some, 2, true));
  folder.write("c.txt", "\xFE\xFF" + wide(some, 2, false));
  folder.write("d.txt", "\xFF\xFE\x2D\x4E\x87\x65");  // no zero byte in it
  folder.write("e.txt", wide(some, 2, true));
  folder.write("f.txt", wide(some, 2, false));
  folder.write("g.txt", std::string("\xFF\xFE\0\0", 4) + wide(some, 4, true));
  folder.write("h.txt", wide(some, 4, true));
  folder.write("i.txt", wide(some, 4, false));
  folder.write("j.txt", some + std::string(1, '\0') + some);
  folder.write("k.txt", "");
  folder.write("l.md", some);
  folder.write(".m", some);
  REQUIRE(::mkfifo((folder / "n.txt").c_str(), 0666) == 0);
  std::filesystem::create_symlink("nowhere", folder / "o.txt");
  std::filesystem::create_symlink("p.txt", folder / "p.txt");
  const auto [texts, report] = text::read_documents(folder.path(), {".txt"});
  CHECK(texts.size() == 1);
  const auto convert = [](const std::string& encoding) {
    return "is " + encoding + " (convert it: iconv -f " + encoding + " -t UTF-8)";
  };
  const std::string zero = "has a zero byte, so it is no text (at byte 33)", nothing = "is a link to nothing";
  const std::vector<std::pair<std::string, std::string>> expected{{"b", convert("UTF-16")},
                                                                  {"c", convert("UTF-16")},
                                                                  {"d", convert("UTF-16")},
                                                                  {"e", convert("UTF-16LE")},
                                                                  {"f", convert("UTF-16BE")},
                                                                  {"g", convert("UTF-32")},
                                                                  {"h", convert("UTF-32LE")},
                                                                  {"i", convert("UTF-32BE")},
                                                                  {"j", zero},
                                                                  {"k", "is empty"},
                                                                  {"n", "is not a regular file"},
                                                                  {"o", nothing},
                                                                  {"p", nothing}};
  REQUIRE(report.left_out.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(report.left_out[i].path == folder / (expected[i].first + ".txt"));
    CHECK(report.left_out[i].reason == expected[i].second);
  }
  CHECK((report.files == 1 && report.bytes == some.size() && report.hidden == 1 && report.other_extensions == 1));
  const auto lines = report.lines();
  REQUIRE(lines.size() == 7);
  CHECK(lines[0] == folder.path().string() + ": 1 file, 33 bytes of text");
  CHECK(lines[1] == "left out: " + (folder / "b.txt").string() + " " + convert("UTF-16"));
  CHECK(lines[6] ==
        "left out: 8 more (has a zero byte, so it is no text: 1, is UTF-32: 1, is UTF-32BE: 1, is UTF-32LE: 1, is a "
        "link to nothing: 2, is empty: 1, is not a regular file: 1), 1 hidden name, 1 file with other extensions");

  for (const char* name : {"b.txt", "d.txt"})
    CHECK(message_of<FileError>([&] { text::read_documents(folder / name); }) ==
          (folder / name).string() + ": " + convert("UTF-16") + "; give a file with text");
  CHECK(text::read_documents(folder / "a.txt").report.lines().empty());
}

TEST_CASE("links are followed, and what they lead to counts once", "[corpus]") {
  const TemporaryDirectory folder, outside;
  outside.write("part/x.txt", "X");
  outside.write("y.txt", "Y");
  outside.write("z.txt", "Z");
  folder.write("real/a.txt", "A");
  folder.write("real/b.txt", "B");
  const auto link = [&](const std::filesystem::path& target, const std::string& name) {
    std::filesystem::create_symlink(target, folder / name);
  };
  link("real", "again");        // a folder that counts where it is
  link("..", "real/up");        // a circle
  link("a.txt", "real/1.txt");  // likewise a file
  link(outside / "part", "c");  // a part of what another link leads to
  link(outside.path(), "d");
  link(outside / "z.txt", "b.txt");  // a file of a folder
  link(outside.path(), "e");
  outside.write("part/f/g.txt", "G");
  const text::Documents documents = text::read_documents(folder.path());
  std::vector<std::string> paths;
  for (const auto& document : documents.texts) paths.push_back(document.path.lexically_relative(folder.path()));
  CHECK(paths == std::vector<std::string>{"c/f/g.txt", "c/x.txt", "d/y.txt", "d/z.txt", "real/a.txt", "real/b.txt"});
  CHECK(documents.report.left_out.empty());
}

TEST_CASE("what the caller leaves out is named with its reason", "[corpus]") {
  const TemporaryDirectory folder;
  folder.write("a.txt", "A");
  folder.write("b.txt", "B");
  folder.write("run/log.csv", "C");
  const auto leave_out = [](const std::filesystem::path& path) {
    return path.filename() == "run" ? "is a run" : path.filename() == "b.txt" ? "is the second" : "";
  };
  const auto corpus = text::load(text::Bytes{}, folder.path(), {}, leave_out);
  CHECK(text_of(corpus) == "A|");
  REQUIRE(corpus.report.lines().size() == 3);
  CHECK(corpus.report.lines()[1] == "left out: " + (folder / "b.txt").string() + " is the second");
  CHECK(corpus.report.lines()[2] == "left out: " + (folder / "run").string() + " is a run");
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
             ContainsSubstring("binary: has a zero byte, so it is no text (at byte 2)"));
  CHECK_THAT(message(folder.write("text.gz", std::string("\x1f\x8b\x08\0\0", 5))),
             ContainsSubstring("text.gz: is compressed by gzip; unpack it"));
  CHECK_THAT(message("/dev/zero"), ContainsSubstring("is a device, which may have no end; give"));
  CHECK_THAT(message(folder.path()), ContainsSubstring("is a folder without text files; give"));
  CHECK_THAT(message(folder.path()), ContainsSubstring("text (left out: ") && ContainsSubstring("binary has a zero"));
  folder.write("text.txt", "x");
  CHECK_THAT(message(folder.path(), {".md", ".rst"}),
             ContainsSubstring("without text files named *.md or *.rst; give") &&
                 ContainsSubstring("(left out: 4 files with other extensions)"));
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

}  // namespace corpus_test
