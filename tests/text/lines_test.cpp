// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/text/lines.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <support/temporary_directory.hpp>
#include <vector>
#if __has_include(<zlib.h>)
#include <support/gzip.hpp>
#endif

namespace lines_test {

using namespace fathom;
using namespace fathom_test;
using namespace std::string_view_literals;
using Catch::Matchers::ContainsSubstring;

using Text = std::vector<std::string>;

Text lines_of(const std::filesystem::path& path, const text::LineOptions& options = {}) {
  Text result;
  const text::Lines lines = text::read_lines(path, options);
  for (std::size_t i = 0; i < lines.size(); ++i) result.emplace_back(lines[i]);
  return result;
}

/// A text that breaks no rule, and spans several pieces of a packed file.
std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 200'000; ++i) text += "Zeile " + std::to_string(i) + " für alle Fälle: größer\n";
  return text;
}

TEST_CASE("lines end with LF or CR LF, and the last one may have no end", "[lines]") {
  const TemporaryDirectory folder;
  const auto read = [&](std::string_view content) { return lines_of(folder.write("a.txt", content)); };
  CHECK(read("a\nb\n") == Text{"a", "b"});
  CHECK(read("a\nb") == Text{"a", "b"});
  CHECK(read("a\r\nb\r\n") == Text{"a", "b"});
  CHECK(read("a\r\nb\r") == Text{"a", "b"});
  CHECK(read("\n\na\n\n") == Text{"", "", "a", ""});
  CHECK(read("\n") == Text{""});
  CHECK(read("a\rb\n") == Text{"a\rb"});  // one line, as for every tool of Unix
  CHECK(read("a\xE2\x80\xA8"
             "b\xC2\x85"
             "c\n") == Text{"a\xE2\x80\xA8"
                            "b\xC2\x85"
                            "c"});
}

TEST_CASE("a byte order mark at the beginning is passed over", "[lines]") {
  const TemporaryDirectory folder;
  CHECK(lines_of(folder.write("a.txt", "\xEF\xBB\xBF"
                                       "a\nb\n")) == Text{"a", "b"});
  CHECK(lines_of(folder.write("b.txt", "a\n\xEF\xBB\xBF"
                                       "b\n")) == Text{"a", "\xEF\xBB\xBF"
                                                            "b"});
}

TEST_CASE("bytes that are not UTF-8 are refused with their line", "[lines]") {
  const TemporaryDirectory folder;
  CHECK_THAT(message_of<FileError>([&] { lines_of(folder.write("a.txt", "gut\nf\xFCr\n")); }),
             ContainsSubstring("a.txt: line 2 is not UTF-8 at byte 2; convert the file"));
  // Overlong, surrogate, above U+10FFFF, cut off at the end of a line.
  for (const std::string_view bad : {"\xC0\x80"sv, "\xED\xA0\x80"sv, "\xF4\x90\x80\x80"sv, "\xE2\x82"sv, "\x80"sv}) {
    CHECK_THAT(message_of<FileError>([&] {
                 lines_of(folder.write("a.txt", "sixteen letters." + std::string(bad) + "\nb\n"));
               }),
               ContainsSubstring("a.txt: line 1 is not UTF-8 at byte 17"));
  }
  CHECK(lines_of(folder.write("a.txt", "\xF4\x8F\xBF\xBF \xED\x9F\xBF é\n")).size() == 1);
}

TEST_CASE("files that are no text with lines are refused, each with its reason", "[lines]") {
  const TemporaryDirectory folder;
  const auto refused = [&](std::string_view content, const std::string& message) {
    CHECK_THAT(message_of<FileError>([&] { lines_of(folder.write("a.txt", content)); }),
               ContainsSubstring("a.txt: " + message));
  };
  refused("", "is empty");
  refused("\xEF\xBB\xBF", "is empty");
  refused("a\nb\0c\n"sv, "line 2 has a zero byte");
  refused("\xFF\xFE"
          "a\0b\0"sv,
          "is UTF-16; convert it: iconv -f UTF-16 -t UTF-8");
  refused("a\0b\0c\0d\0\n\0a\0b\0"sv, "is UTF-16LE");
  refused("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 433869\n", "is a pointer of git-lfs");
  refused("<!DOCTYPE html>\n<html>", "is a web page");
  refused("PK\3\4\xFF\xFF\n", "is a zip archive");
  CHECK(lines_of(folder.write("b.txt", "GGUF is a format.\n")) == Text{"GGUF is a format."});

  CHECK_THAT(message_of<FileError>([&] { lines_of(folder / "none.txt"); }), ContainsSubstring("cannot open"));
  CHECK_THAT(message_of<FileError>([&] { lines_of(folder.path()); }), ContainsSubstring("is not a regular file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(message_of<FileError>([&] { lines_of(folder / "pipe"); }), ContainsSubstring("is not a regular file"));
}

TEST_CASE("a line or a file beyond the bounds is refused", "[lines]") {
  const TemporaryDirectory folder;
  const auto path = folder.write("a.txt", "1234\n12345\n123456\n");
  CHECK(lines_of(path, {.longest_line = 6}).size() == 3);
  CHECK_THAT(message_of<FileError>([&] { lines_of(path, {.longest_line = 5}); }),
             ContainsSubstring("a.txt: line 3 is longer than 5 bytes"));
  CHECK(lines_of(path, {.largest = 18}).size() == 3);
  CHECK_THAT(message_of<FileError>([&] { lines_of(path, {.largest = 17}); }),
             ContainsSubstring("a.txt: is longer than 17 bytes"));
}

#if __has_include(<zlib.h>)

TEST_CASE("a packed file has the lines of the plain one, wherever its pieces end", "[lines]") {
  const TemporaryDirectory folder;
  const std::string text = long_text();
  CHECK(lines_of(folder.write("a.gz", gzip(text))) == lines_of(folder.write("a.txt", text)));
  // The name does not matter, the bytes do.
  CHECK(lines_of(folder.write("b.txt", gzip("\xEF\xBB\xBF"
                                            "a\r\nb"))) == Text{"a", "b"});
  for (const std::size_t size : {65535u, 65536u, 65537u}) {
    const std::string line(size, 'x');
    CHECK(lines_of(folder.write("c.gz", gzip(line + "\r\nb\n"))) == Text{line, "b"});
  }
}

TEST_CASE("a packed file that is damaged, empty or huge is refused before it fills the memory", "[lines]") {
  const TemporaryDirectory folder;
  const std::string packed = gzip(long_text());
  CHECK_THAT(message_of<FileError>([&] { lines_of(folder.write("a.gz", packed.substr(0, packed.size() / 2))); }),
             ContainsSubstring("a.gz: ends before its text does"));
  CHECK_THAT(message_of<FileError>([&] { lines_of(folder.write("a.gz", gzip(""))); }),
             ContainsSubstring("a.gz: is empty"));
  const std::string endless = gzip(std::string(3'000'000, 'a'));
  CHECK_THAT(message_of<FileError>([&] { lines_of(folder.write("a.gz", endless)); }),
             ContainsSubstring("a.gz: line 1 is longer than 1048576 bytes"));
  CHECK_THAT(message_of<FileError>([&] { lines_of(folder.write("a.gz", packed), {.largest = 100'000}); }),
             ContainsSubstring("a.gz: is longer than 100000 bytes"));
  CHECK_THAT(message_of<FileError>([&] { lines_of(folder.write("a.gz", gzip("a\nf\xFCr\n"))); }),
             ContainsSubstring("a.gz: line 2 is not UTF-8 at byte 2"));
}

#endif

TEST_CASE("lines of a text that comes in pieces are those of the file", "[lines]") {
  const TemporaryDirectory folder;
  const std::string text = long_text() + "Ende";
  const Text expected = lines_of(folder.write("a.txt", text));
  const auto read = [](std::string_view rest, std::size_t size) {
    Text lines;
    const auto next = [&] {
      const std::string_view piece = rest.substr(0, size);
      rest.remove_prefix(piece.size());
      return piece;
    };
    text::read_lines_of("pipe", {}, next, [&](std::string_view line, std::size_t) { lines.emplace_back(line); });
    return lines;
  };
  for (const std::size_t size : {std::size_t(1), std::size_t(1000), text.size()}) CHECK(read(text, size) == expected);
  CHECK(read("", 1).empty());
  CHECK_THROWS_WITH(read("a\nb\xFF\n", 2), ContainsSubstring("pipe: line 2 is not UTF-8 at byte 2"));
}

}  // namespace lines_test
