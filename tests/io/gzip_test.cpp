// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/io/gzip.hpp>
#include <string>
#include <string_view>
#include <support/temporary_directory.hpp>

#if __has_include(<zlib.h>)
#include <support/gzip.hpp>

namespace gzip_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

std::string unpacked(std::string_view bytes) {
  Gunzip file("a.gz", bytes);
  std::string text;
  for (std::string_view piece = file.next(); !piece.empty(); piece = file.next()) text += piece;
  return text;
}

std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 300'000; ++i) text += std::to_string(i * 7919 % 1009) + (i % 11 == 0 ? "\n" : " ");
  return text;
}

TEST_CASE("what gzip packed comes back, of one member or several", "[gzip]") {
  const std::string text = long_text();
  CHECK(unpacked(gzip(text)) == text);
  CHECK(unpacked(gzip("a") + gzip("") + gzip(text) + gzip("b\n")) == "a" + text + "b\n");
  CHECK(unpacked(gzip("a") + std::string(1000, '\0')) == "a");
  CHECK(unpacked(gzip("")).empty());
  CHECK(is_gzip(gzip("")));
  CHECK_FALSE(is_gzip("text"));
  // A text that ends where a piece does.
  const std::string piece = text.substr(0, std::size_t{1} << 16);
  CHECK(unpacked(gzip(piece)) == piece);
  CHECK(unpacked(gzip(piece) + gzip(piece)) == piece + piece);
}

TEST_CASE("pieces are full but for the last", "[gzip]") {
  const std::string packed = gzip(long_text()) + gzip("end");
  Gunzip file("a.gz", packed);
  std::size_t last = std::size_t{1} << 16;
  for (std::string_view piece = file.next(); !piece.empty(); piece = file.next()) {
    CHECK(last == std::size_t{1} << 16);
    last = piece.size();
  }
}

TEST_CASE("a gzip file that is cut off anywhere is refused", "[gzip]") {
  const std::string packed = gzip("some text that is packed and cut off");
  for (std::size_t size = 2; size < packed.size(); ++size) {
    CAPTURE(size);
    CHECK_THAT(message_of<FileError>([&] { unpacked(std::string_view(packed).substr(0, size)); }),
               ContainsSubstring("a.gz: ends before its text does; copy or download it again"));
  }
  const std::string large = gzip(long_text());
  for (std::size_t size = 2; size < large.size(); size += 977)
    CHECK_THROWS_AS(unpacked(std::string_view(large).substr(0, size)), FileError);
  CHECK_THROWS_AS(unpacked(large.substr(0, large.size() - 1)), FileError);
  CHECK_THROWS_AS(unpacked(gzip("a") + gzip("b").substr(0, 9)), FileError);
}

TEST_CASE("a gzip file with a flipped bit is refused, unless the bit means nothing", "[gzip]") {
  const std::string text = "some text that is packed and damaged", packed = gzip(text);
  int refused = 0;
  for (std::size_t place = 10; place < packed.size(); ++place) {
    std::string damaged = packed;
    damaged[place] = static_cast<char>(damaged[place] ^ 4);
    CAPTURE(place);
    try {
      const std::string result = unpacked(damaged);
      CHECK(result == text);  // between the end of the text and its checksum are bits that fill a byte
    } catch (const FileError&) {
      ++refused;
    }
  }
  CHECK(refused >= static_cast<int>(packed.size()) - 11);
  CHECK_THAT(message_of<FileError>([&] { unpacked(packed + "and something else"); }),
             ContainsSubstring("a.gz: is damaged"));
}

}  // namespace gzip_test

#endif
