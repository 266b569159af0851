// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fathom/text/llama2c.hpp>
#include <filesystem>
#include <limits>
#include <random>
#include <string>
#include <support/data.hpp>
#include <support/sanitized.hpp>
#include <support/temporary_directory.hpp>
#include <vector>

namespace llama2c_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using text::Llama2c;

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

/// A table whose pieces overlap in many ways, with scores of which several are equal.
std::string tangled_table() {
  std::string file("\x07\0\0\0", 4);
  for (int id = 0; id < 259; ++id) file += entry("<" + std::to_string(id) + ">");
  std::minstd_rand draw(5);
  for (const char* letter : {"a", "b", "c", "d", " "}) file += entry(letter);
  for (int id = 0; id < 200; ++id) {
    std::string piece;
    for (auto length = 2 + draw() % 4; piece.size() < length;) piece += "abcd "[draw() % 5];
    file += entry(piece, -static_cast<float>(draw() % 20));
  }
  return file;
}

/// Merges pair by pair, as the contract says it: all pairs are looked at for each merge.
std::vector<int> merged_plainly(std::vector<std::string> pieces,
                                const std::vector<std::pair<std::string, float>>& table) {
  const auto id_of = [&](const std::string& text) {
    for (std::size_t id = 0; id < table.size(); ++id)
      if (table[id].first == text) return static_cast<int>(id);
    return -1;
  };
  for (;;) {
    std::size_t best = pieces.size();
    int merged = -1;
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
      const int both = id_of(pieces[i] + pieces[i + 1]);
      if (both < 0 || (merged >= 0 &&
                       table[static_cast<std::size_t>(both)].second <= table[static_cast<std::size_t>(merged)].second))
        continue;
      best = i;
      merged = both;
    }
    if (merged < 0) break;
    pieces[best] += pieces[best + 1];
    pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<int> ids;
  for (const std::string& piece : pieces) ids.push_back(id_of(piece));
  return ids;
}

/// Score and text of each entry of a table.
std::vector<std::pair<std::string, float>> entries_of(const std::string& file) {
  std::vector<std::pair<std::string, float>> entries;
  for (std::size_t place = 4; place < file.size();) {
    float score;
    std::int32_t length;
    std::memcpy(&score, file.data() + place, 4);
    std::memcpy(&length, file.data() + place + 4, 4);
    entries.emplace_back(file.substr(place + 8, static_cast<std::size_t>(length)), score);
    place += 8 + static_cast<std::size_t>(length);
  }
  return entries;
}

TEST_CASE("merging by a queue gives what looking at all pairs gives", "[llama2c]") {
  const TemporaryDirectory folder;
  const std::string table = tangled_table();
  const Llama2c tokenizer = Llama2c::from_file(folder.write("tangled.bin", table));
  const auto entries = entries_of(table);
  std::minstd_rand draw(7);
  for (int round = 0; round < 100; ++round) {
    std::string text;
    for (auto length = 1 + draw() % 60; text.size() < length;) text += "abcd "[draw() % (round % 4 == 0 ? 2 : 5)];
    std::vector<std::string> letters{" "};
    for (const char letter : text) letters.emplace_back(1, letter);
    const auto ids = tokenizer.encode(text);
    CAPTURE(text);
    REQUIRE(std::vector<int>(ids.begin(), ids.end()) == merged_plainly(letters, entries));
  }
}

TEST_CASE("a long text is tokenized in about as many steps as it has characters", "[llama2c]") {
  if (containers_are_checked) SKIP("each step of a queue looks at all of it in the standard library's debug mode");
  const TemporaryDirectory folder;
  const Llama2c tokenizer = Llama2c::from_file(folder.write("tangled.bin", tangled_table()));
  std::string text;
  for (std::minstd_rand draw(3); text.size() < 64'000;) text += "abcd "[draw() % 5];
  std::vector<int> ids{Llama2c::begin};
  for (const int id : tokenizer.encode(text)) ids.push_back(id);
  CHECK(tokenizer.decode(ids) == text);

  const auto processor_time = [&](std::size_t length) {  // the least of five
    std::clock_t least = std::numeric_limits<std::clock_t>::max();
    for (int round = 0; round < 5; ++round) {
      const std::clock_t start = std::clock();
      tokenizer.encode(text.substr(0, length));
      least = std::min(least, std::clock() - start);
    }
    return static_cast<double>(least);
  };
  CHECK(processor_time(64'000) < 64 * processor_time(4'000));  // 256 where each merge looks at all pairs
}

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
  for (const std::size_t size : {std::size_t{3}, std::size_t{4}, std::size_t{100}, table.size() - 1})
    CHECK_THAT(message_of<FileError>([&] { Llama2c::from_file(folder.write("cut.bin", table.substr(0, size))); }),
               ContainsSubstring("cut.bin: is not a whole llama2.c tokenizer"));
  CHECK_THROWS_AS(Llama2c::from_file(folder.write("text", std::string(5000, 'x'))), FileError);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(Llama2c::from_file(folder.write("nan", table + entry("abab", nan))), FileError);
  CHECK_THAT(message_of<FileError>([&] { Llama2c::from_file(folder.write("empty.bin", "")); }),
             ContainsSubstring("empty.bin: is empty; "));
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 433869\n";
  CHECK_THAT(message_of<FileError>([&] { Llama2c::from_file(folder.write("pointer.bin", pointer)); }),
             ContainsSubstring("pointer.bin: is a pointer of git-lfs"));
  CHECK_THAT(message_of<FileError>([&] { Llama2c::from_file(folder / "none"); }), ContainsSubstring("cannot open"));
}

TEST_CASE("a tokenizer is a regular file of a plausible length", "[llama2c]") {
  const TemporaryDirectory folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(message_of<FileError>([&] { Llama2c::from_file(folder / "pipe"); }),
             ContainsSubstring("pipe: is not a regular file"));
  const auto huge = folder.write("huge.bin", small_table());
  std::filesystem::resize_file(huge, std::uintmax_t{1} << 34);  // of holes
  CHECK_THAT(message_of<FileError>([&] { Llama2c::from_file(huge); }), ContainsSubstring("not a whole llama2.c"));
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

}  // namespace llama2c_test
