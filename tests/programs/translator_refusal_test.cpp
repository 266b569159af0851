// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/io/file.hpp>
#include <programs/translator_run.hpp>

namespace translator_refusal_test {

using namespace fathom_test;

TEST_CASE("texts that cannot be learned from are refused in one line, and nothing is written", "[programs]") {
  const TranslationWorkshop workshop;
  const auto& folder = workshop.folder;
  const auto refuse = [&](const Arguments& more, const std::vector<std::string>& parts) {
    for (const char* command : {"train", "prepare"}) {
      const auto output = folder / "refused";
      check_refused(Arguments{tiny_translator(), command} + more + Arguments{"--output", output}, parts);
      CHECK((!std::filesystem::exists(output) || content_of(output).empty()));
    }
  };
  const auto shorter = folder.write("shorter.en", ToyPairs(TranslationWorkshop::pairs - 1).target);
  refuse({workshop.source, shorter}, {"has 200 lines", "shorter.en has 199 lines"});
  const auto latin = folder.write("latin.en", ToyPairs(199).target + "caf\xe9\n");
  refuse({workshop.source, latin}, {"latin.en: line 200 is not UTF-8 at byte 4"});
  const auto empty = folder.write("empty.en", std::string(200, '\n'));
  refuse({workshop.source, empty}, {"no pair is left of 200: 200 have an empty side"});
  refuse({folder / "none.de", workshop.target}, {"none.de"});
  refuse({workshop.source}, {"line 1 has 1 column of the 2", "tabs"});
  std::string words;
  for (int i = 0; i < 200; ++i) words += "hund hund hund hund hund hund hund hund hund hund hund hund hund hund\n";
  const auto longer = folder.write("longer.de", words);
  refuse({workshop.source, workshop.target, "--longest", "25"}, {"--longest 25", "context of 24"});
  const Arguments few{folder.write("few.de", "hund\n"), folder.write("few.en", "dog\n"), "--output", folder / "refused"};
  const Arguments long_sides{longer, workshop.target, "--ratio", "0", "--duplicates", "keep",
                             "--longest", "4", "--output", folder / "refused"};
  for (const Arguments& command : {Arguments{"train", "--hold-out", "0"}, Arguments{"prepare"}}) {
    check_refused(Arguments{tiny_translator()} + command + few, {"few.de", "a vocabulary of 300 is too large"});
    check_refused(Arguments{tiny_translator()} + command + long_sides, {"every pair has a side of more than 4 tokens"});
  }
}

TEST_CASE("a text to validate on that is none is refused in one line, and nothing is written", "[programs]") {
  const TranslationWorkshop workshop;
  const auto& folder = workshop.folder;
  const auto refuse = [&](const Arguments& validation, const std::vector<std::string>& parts) {
    check_refused(workshop.train("refused", Arguments{"--validation"} + validation), parts);
    CHECK((!std::filesystem::exists(folder / "refused") || content_of(folder / "refused").empty()));
  };
  refuse({workshop.source, folder.write("short.en", "dog\n")}, {"has 200 lines", "short.en has 1 line;"});
  refuse({folder.write("latin.de", "hund\ncaf\xe9\n"), folder.write("two.en", "dog\ncat\n")},
         {"latin.de: line 2 is not UTF-8 at byte 4"});
  refuse({folder.write("one.de", "hund\n"), folder.write("empty.en", "\n")},
         {"one.de: all of its 1 pairs have an empty side"});
  std::string words;
  for (int i = 0; i < 40; ++i) words += "hund ";
  refuse({folder.write("long.de", words + "\n"), folder.write("one.en", "dog\n")},
         {"long.de: every pair has a side of more than 24 tokens"});
}

TEST_CASE("one line tells of options without sense", "[programs]") {
  const TranslationWorkshop workshop;
  const auto refuse = [&](const Arguments& more, const std::vector<std::string>& parts) {
    check_refused(workshop.train("refused") + more, parts);
  };
  refuse({"--hold-out", "150"}, {"--hold-out 150", "more than half of the 200 pairs"});
  refuse({"--batch", "10"}, {"10 tokens of a side", "24"});
  refuse({"--pass", "20"}, {"20 tokens"});
  refuse({"--label-smoothing", "1"}, {"--label-smoothing", "below 1"});
  refuse({"--duplicates", "some"}, {"--duplicates", "drop or keep"});
  refuse({"--languages", "de-en"}, {"--languages de-en", "toy.de is a file"});
  check_refused({tiny_translator()}, {"prepare, train, translate, evaluate, score or info"});
  check_refused({tiny_translator(), "train", "--output", workshop.folder / "refused"}, {"texts"});
}

TEST_CASE("long sentences and empty sides are left out, and counted", "[programs]") {
  const TranslationWorkshop workshop;
  std::string words;
  for (int i = 0; i < 40; ++i) words += "hund ";
  const auto source = workshop.folder.write("a.de", workshop.toy.source + words + "\n\n");
  const auto target = workshop.folder.write("a.en", workshop.toy.target + words + "\ndog\n");
  const Ended ended = run(Arguments{tiny_translator(), "train", source, target, "--output", workshop.folder / "run"} +
                          TranslationWorkshop::settings() + Arguments{"--steps", "2", "--hold-out", "0"});
  CAPTURE(ended.err);
  CHECK(ended.code == 0);
  const auto table = lines_of(ended.out);
  REQUIRE(table.size() > 2);
  CHECK(table[1].find("202   200      1") != std::string::npos);
  CHECK(table[1].ends_with(" 1"));
}

TEST_CASE("a run of another model, text or subwords is refused, and stays what it is", "[programs]") {
  const TranslationWorkshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  REQUIRE(run(workshop.train("run", {"--steps", "10"})).code == 0);
  const auto before = content_of(output);
  const auto refuse = [&](const Arguments& command, const std::vector<std::string>& parts) {
    check_refused(command + Arguments{"--output", output}, parts);
    check_same(content_of(output), before);
  };
  refuse(workshop.train("run"), {"holds a run", "--resume"});
  refuse({deeper_translator(), "train", "--resume"}, {"is a checkpoint of 2+2 layers", "this program is for 4+4"});
  refuse({wordier_translator(), "train", "--resume"},
         {"subwords.model: is a subword model of 300 pieces, and this program is for 310"});
  refuse({tiny_translator(), "train", "--resume", "--steps", "20"}, {"--steps is 10 in the run to resume, not 20"});
  const ToyPairs other(200, 2);
  refuse({tiny_translator(), "train", workshop.folder.write("b.de", other.source),
          workshop.folder.write("b.en", other.target), "--resume"},
         {"b.de", "is not the text that the run to resume began with"});
  // A subword model of its own that has another vocabulary.
  REQUIRE(run({wordier_translator(), "prepare", workshop.source, workshop.target, "--duplicates", "keep", "--output",
               workshop.folder / "wordier"})
              .code == 0);
  const auto wordier = workshop.folder / "wordier" / "subwords.model";
  check_refused(workshop.train("other", {"--subwords", wordier}),
                {"is a subword model of 310 pieces, and this program is for 300"});
  refuse({tiny_translator(), "train", "--resume", "--subwords", wordier},
         {"is not the subword model of the run to resume"});
  // A folder whose subwords were replaced.
  std::filesystem::copy(output, workshop.folder / "mixed", std::filesystem::copy_options::recursive);
  std::filesystem::copy_file(wordier, workshop.folder / "mixed" / "subwords.model",
                             std::filesystem::copy_options::overwrite_existing);
  check_refused({tiny_translator(), "train", "--resume", "--output", workshop.folder / "mixed"},
                {"subwords.model: is not the subword model that the run was trained with"});
  check_refused({tiny_translator(), "prepare", workshop.source, workshop.target, "--output", output},
                {"subwords.model: is there already"});
  // Files that are no run's.
  const auto prepared = workshop.folder / "prepared";
  REQUIRE(run(Arguments{tiny_translator(), "prepare", workshop.source, workshop.target, "--output", prepared}).code ==
          0);
  const auto ready = content_of(prepared);
  check_refused(workshop.train("prepared", {"--hold-out", "50"}),
                {"subwords.model: is there already, and is not the subword model of this run", "--subwords"});
  check_same(content_of(prepared), ready);
  const auto cleaned = workshop.folder / "cleaned";
  std::filesystem::create_directory(cleaned);
  for (const char* name : {"train.source", "train.target"}) std::filesystem::copy_file(prepared / name, cleaned / name);
  const auto texts = content_of(cleaned);
  check_refused({tiny_translator(), "prepare", cleaned / "train.source", cleaned / "train.target", "--output", cleaned},
                {"train.source: is there already", "another --output"});
  check_same(content_of(cleaned), texts);
  CHECK(run(workshop.train("prepared", {"--subwords", prepared / "subwords.model", "--steps", "2"})).code == 0);
  check_same(content_of(output), before);
}

}  // namespace translator_refusal_test
