// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>
#include <fathom/text/llama2c.hpp>
#include <string>
#include <support/data.hpp>
#include <support/temporary_directory.hpp>
#include <vector>

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using text::Llama2c;

namespace {

std::string entry(const std::string& piece, float score = 0) {
  std::string bytes(8, '\0');
  const auto length = static_cast<std::int32_t>(piece.size());
  std::memcpy(bytes.data(), &score, 4);
  std::memcpy(bytes.data() + 4, &length, 4);
  return bytes + piece;
}

/// The 259 pieces that every table starts with, then "a" 259, "b" 260, " " 261, "ab" 262, " a" 263, " ab" 264, "ba"
/// 265.
std::string small_table() {
  std::string file("\x07\0\0\0", 4);
  for (const char* piece : {"<unk>", "\n<s>\n", "\n</s>\n"}) file += entry(piece);
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    file += entry(name);
  }
  return file + entry("a", -1) + entry("b", -1) + entry(" ", -1) + entry("ab", -2) + entry(" a", -3) +
         entry(" ab", -4) + entry("ba", -1.5f);
}

}  // namespace

TEST_CASE("pieces are merged best score first, and other bytes have tokens of their own", "[llama2c]") {
  const TemporaryDirectory folder;
  const Llama2c tokenizer = Llama2c::from_file(folder.write("small.bin", small_table()));
  using Ids = std::vector<Llama2c::Token>;
  CHECK(tokenizer.vocabulary() == 266);
  CHECK(tokenizer.encode("").empty());
  CHECK(tokenizer.encode("ab") == Ids{264});
  CHECK(tokenizer.encode("aba") == Ids{263, 265});  // "ba" before "ab"
  CHECK(tokenizer.encode("é") == Ids{261, 3 + 0xC3, 3 + 0xA9});
  CHECK(tokenizer.encode("\xff") == Ids{261, 3 + 0xFF});
}

TEST_CASE("decoding drops the first space after a begin, and the begin", "[llama2c]") {
  const TemporaryDirectory folder;
  const Llama2c tokenizer = Llama2c::from_file(folder.write("small.bin", small_table()));
  for (const std::string text : {"ab", "a b", " ab", "é\xff!", "abab ab"}) {
    std::vector<int> ids{Llama2c::begin};
    for (const int id : tokenizer.encode(text)) ids.push_back(id);
    ids.push_back(Llama2c::end);
    CHECK(tokenizer.decode(ids) == text);
  }
  CHECK(tokenizer.decode(std::vector<int>{264, 264}) == " ab ab");
  CHECK_THROWS_AS(tokenizer.decode(std::vector<int>{266}), Error);
}

TEST_CASE("a table that is cut off or something else is refused", "[llama2c]") {
  const TemporaryDirectory folder;
  const std::string table = small_table();
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{4}, std::size_t{100}, table.size() - 1})
    CHECK_THAT(message_of<FileError>([&] { Llama2c::from_file(folder.write("cut.bin", table.substr(0, size))); }),
               ContainsSubstring("cut.bin: is not a whole llama2.c tokenizer"));
  CHECK_THROWS_AS(Llama2c::from_file(folder.write("text", std::string(5000, 'x'))), FileError);
  CHECK_THAT(message_of<FileError>([&] { Llama2c::from_file(folder / "none"); }), ContainsSubstring("cannot open"));
}

TEST_CASE("the stories260K table encodes and decodes its own story", "[llama2c]") {
  const auto folder = data("pretrained/stories260k");
  const Llama2c tokenizer = Llama2c::from_file(folder / "tok512.bin");
  CHECK(tokenizer.vocabulary() == 512);
  const std::string story = read_file(folder / "expected_greedy.txt");
  std::vector<int> ids{Llama2c::begin};
  for (const int id : tokenizer.encode(story)) ids.push_back(id);
  CHECK(tokenizer.decode(ids) == story);
  CHECK(ids.size() < story.size() / 2);
  CHECK(tokenizer.decode(std::vector<int>(ids.begin(), ids.begin() + 6)) == "Once upon a time,");
}
