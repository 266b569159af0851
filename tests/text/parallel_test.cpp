// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/text/parallel.hpp>
#include <string>
#include <support/data.hpp>
#include <support/temporary_directory.hpp>
#if __has_include(<zlib.h>)
#include <support/gzip.hpp>
#endif

namespace parallel_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

std::string text_of(const text::ParallelText& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i)
    result += std::string(text.source[i]) + "=" + std::string(text.target[i]) + "|";
  return result;
}

TEST_CASE("two files are read line by line, whatever their line ends", "[parallel]") {
  const TemporaryDirectory folder;
  const auto source = folder.write("a.en", "\xEF\xBB\xBFone\r\n\r\nthree\r\n");
  const auto target = folder.write("a.de", "eins\nzwei\n");
  folder.write("b.de", "eins\nzwei\ndrei");
  const text::ParallelText text = text::read_pairs(source, folder / "b.de");
  CHECK(text_of(text) == "one=eins|=zwei|three=drei|");
  CHECK(text.name == source.string());
  CHECK_THAT(message_of<FileError>([&] { text::read_pairs(source, target); }),
             ContainsSubstring("a.en has 3 lines and ") && ContainsSubstring("a.de has 2 lines; give two files"));
  CHECK_THAT(message_of<FileError>([&] { text::read_pairs(folder.write("c.en", "one"), target); }),
             ContainsSubstring("c.en has 1 line and "));
  CHECK_THAT(message_of<FileError>([&] { text::read_pairs(source, folder.write("d.de", "a\nb\n\xFF\n")); }),
             ContainsSubstring("d.de: line 3 is not UTF-8"));
  CHECK_THAT(message_of<FileError>([&] { text::read_pairs(source, folder.write("e.de", "")); }),
             ContainsSubstring("e.de: is empty"));
}

TEST_CASE("file pairs are found as Moses names them", "[parallel]") {
  const TemporaryDirectory folder;
  folder.write("train.en", "one\n");
  folder.write("train.de", "eins\n");
  const text::ParallelText text = text::read_moses((folder / "train").string(), "en", "de");
  CHECK(text_of(text) == "one=eins|");
  CHECK(text.name == (folder / "train").string());
  CHECK(text_of(text::read_moses((folder / "train").string(), "de", "en")) == "eins=one|");
  CHECK_THAT(message_of<FileError>([&] { text::read_moses((folder / "train").string(), "en", "fr"); }),
             ContainsSubstring("train.fr: cannot open"));
#if __has_include(<zlib.h>)
  folder.write("train.fr.gz", gzip("un\n"));
  CHECK(text_of(text::read_moses((folder / "train").string(), "en", "fr")) == "one=un|");
#endif
}

TEST_CASE("two columns of a table are a pair", "[parallel]") {
  const TemporaryDirectory folder;
  CHECK(text_of(text::read_tsv(folder.write("a.tsv", "one\teins\r\ntwo\tzwei"))) == "one=eins|two=zwei|");
  const auto wide = folder.write("b.tsv", "1\tone\ten\teins\tnote\n2\t\ten\tzwei\tnote\n3\tthree\ten\t\n");
  CHECK(text_of(text::read_tsv(wide, {.source = 2, .target = 4})) == "one=eins|=zwei|three=|");
  CHECK(text_of(text::read_tsv(wide, {.source = 4, .target = 2})) == "eins=one|zwei=|=three|");
  CHECK_THAT(message_of<FileError>([&] { text::read_tsv(wide, {.source = 2, .target = 5}); }),
             ContainsSubstring("b.tsv: line 3 has 4 columns of the 5 that are needed"));
  CHECK_THAT(message_of<FileError>([&] { text::read_tsv(folder.write("c.tsv", "one\teins\ntwo zwei\n")); }),
             ContainsSubstring("c.tsv: line 2 has 1 column of the 2 that are needed"));
  CHECK_THAT(message_of<FileError>([&] { text::read_tsv(folder.write("d.tsv", "one\teins\n\n")); }),
             ContainsSubstring("d.tsv: line 2 has 1 column of"));
  CHECK_THROWS_AS(text::read_tsv(wide, {.source = 0}), Error);
  CHECK_THROWS_AS(text::read_tsv(wide, {.source = 2}), Error);
}

#if __has_include(<zlib.h>)

TEST_CASE("the corpora have as many pairs as they say", "[parallel]") {
  const std::string folder = data("multi30k").parent_path().string();
  CHECK(text::read_moses(folder + "/multi30k/train", "en", "de").size() == 29'000);
  CHECK(text::read_moses(folder + "/multi30k/tok/val.lc.norm.tok", "en", "de").size() == 1'014);
  CHECK(text::read_moses(folder + "/europarl_en_de/train", "en", "de").size() == 18'500);
  CHECK(text::read_moses(folder + "/libreoffice_help/train", "ja", "zh").size() == 30'952);
  const text::ParallelText tatoeba = text::read_tsv(folder + "/tatoeba_en_de/train.tsv.gz");
  CHECK(tatoeba.size() == 162'088);
  CHECK(tatoeba.source.bytes() + tatoeba.target.bytes() + 2 * tatoeba.size() == 11'754'601);  // bytes of the file
  CHECK_THAT(message_of<FileError>([&] {
               text::read_pairs(folder + "/multi30k/train.en.gz", folder + "/multi30k/val.de.gz");
             }),
             ContainsSubstring("train.en.gz has 29000 lines and ") && ContainsSubstring("val.de.gz has 1014 lines"));
}

#endif

}  // namespace parallel_test
