// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <fathom/io/file.hpp>
#include <programs/translator_run.hpp>
#include <random>
#include <string>
#include <string_view>

namespace translator_corpora_test {

// Several texts: how much of each, and what each translates into.

using namespace fathom_test;

/// Words of the toy language and their translations into two others.
struct Dictionary {
  static constexpr std::array<std::array<std::string_view, 3>, 6> words{{{"hund", "dog", "chien"},
                                                                         {"rot", "red", "rouge"},
                                                                         {"haus", "house", "maison"},
                                                                         {"baum", "tree", "arbre"},
                                                                         {"sieht", "sees", "voit"},
                                                                         {"blau", "blue", "bleu"}}};
  std::string source, target;

  /// `language`: 1 or 2.
  Dictionary(std::size_t language, int pairs, unsigned seed = 1) {
    std::minstd_rand draw(seed);
    for (int i = 0; i < pairs; ++i) {
      const auto count = 1 + draw() % 2;
      for (std::size_t word = 0; word < count; ++word) {
        const auto& entry = words[draw() % words.size()];
        source.append(word > 0 ? " " : "").append(entry[0]);
        target.append(word > 0 ? " " : "").append(entry[language]);
      }
      source += '\n';
      target += '\n';
    }
  }
};

struct TwoLanguages {
  TemporaryDirectory folder{fastest_folder()};
  Arguments texts;

  TwoLanguages() {
    for (const std::size_t language : {1, 2}) {
      const Dictionary text(language, language == 1 ? 200 : 80, unsigned(language));
      const std::string end = std::to_string(language);
      texts.push_back(folder.write("source" + end, text.source));
      texts.push_back(folder.write("target" + end, text.target));
    }
  }
  Arguments train(std::string_view output, const Arguments& more = {}) const {
    return Arguments{tiny_translator(), "train"} + texts + Arguments{"--output", folder / output} +
           TranslationWorkshop::settings() + more;
  }
  Arguments translate(std::string_view output, const Arguments& more) const {
    return Arguments{tiny_translator(), "translate", folder.write("words", words()), "--output", folder / output,
                     "--threads",       "1"} +
           more;
  }
  static std::string words() {
    std::string text;
    for (const auto& entry : Dictionary::words) text.append(entry[0]) += '\n';
    return text;
  }
};

TEST_CASE("one translator learns two languages, and is told which", "[programs]") {
  const TwoLanguages two;
  const Ended trained =
      run(two.train("run", {"--target-languages", "en,fr", "--weights", "1,1", "--steps", "600", "--dropout", "0",
                            "--validation-every", "200"}));
  CAPTURE(trained.err, trained.out);
  REQUIRE(trained.code == 0);
  for (const std::size_t language : {1, 2}) {
    const Ended ended = run(two.translate("run", {"--target-language", language == 1 ? "en" : "fr"}));
    CAPTURE(ended.err, ended.out);
    REQUIRE(ended.code == 0);
    const auto lines = lines_of(ended.out);
    REQUIRE(lines.size() == Dictionary::words.size());
    std::size_t right = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) right += lines[i] == Dictionary::words[i][language];
    CHECK(right >= 4);
  }
  check_refused(two.translate("run", {}), {"the run translates into en, fr; say which with --target-language"});
  check_refused(two.translate("run", {"--target-language", "de"}), {"--target-language de", "translates into en, fr"});
  // What was evaluated in the wrong language is worse.
  const auto evaluate = [&](const char* language) {
    return run({tiny_translator(), "evaluate", two.texts[2], two.texts[3], "--output", two.folder / "run",
                "--target-language", language, "--threads", "1"});
  };
  const Ended right = evaluate("fr"), wrong = evaluate("en");
  REQUIRE((right.code == 0 && wrong.code == 0));
  const auto loss = [](const Ended& ended) { return std::stod(ended.out.substr(ended.out.find("pairs, ") + 7)); };
  CHECK(loss(right) < loss(wrong) - 0.5);
}

TEST_CASE("shares of texts decide how often their pairs come, and a run of several resumes to the bit", "[programs]") {
  const TwoLanguages two;
  const Arguments options{"--weights", "1,3", "--target-languages", "en,fr"};
  const Ended whole = run(two.train("whole", options));
  CAPTURE(whole.err);
  REQUIRE(whole.code == 0);
  // Of 180 and 60 pairs an epoch takes 240 together: a quarter and three quarters of them.
  CHECK(whole.out.find("to learn from: 240 pairs") != std::string::npos);
  CHECK(whole.out.find("source1 comes 0.333 times in an epoch") != std::string::npos);
  CHECK(whole.out.find("source2 comes 3 times in an epoch") != std::string::npos);
  REQUIRE(run(two.train("other", {"--weights", "3,1", "--target-languages", "en,fr"})).code == 0);
  CHECK(fathom::read_file(two.folder / "other" / "log.csv") != fathom::read_file(two.folder / "whole" / "log.csv"));
  const auto output = two.folder / "run";
  {
    Process process(two.train("run", options));
    wait_for_steps(process, output, 25);
    process.signal(SIGKILL);
    process.wait();
  }
  const Arguments resume{tiny_translator(), "train", "--resume", "--output", output, "--threads", "1"};
  const auto before = content_of(output);
  check_refused(resume + Arguments{"--weights", "1,1"}, {"--weights is 1,3 in the run to resume, not 1,1"});
  check_refused(resume + Arguments{"--target-languages", "en,de"}, {"--target-languages is en,fr"});
  check_same(content_of(output), before);
  const Ended resumed = run(resume);
  CAPTURE(resumed.err);
  REQUIRE(resumed.code == 0);
  check_same(content_of(output), content_of(two.folder / "whole"));
}

TEST_CASE("several texts are prepared each by itself, with a piece for each language", "[programs]") {
  const TwoLanguages two;
  const auto ready = two.folder / "ready";
  const Ended prepared = run(Arguments{tiny_translator(), "prepare"} + two.texts +
                             Arguments{"--duplicates", "keep", "--target-languages", "en,fr", "--output", ready});
  CAPTURE(prepared.err);
  REQUIRE(prepared.code == 0);
  CHECK(fathom::read_file(ready / "train.1.source") == fathom::read_file(two.texts[0]));
  CHECK(fathom::read_file(ready / "train.2.target") == fathom::read_file(two.texts[3]));
  const auto table = lines_of(prepared.out);
  REQUIRE(table.size() > 3);
  CHECK(table[3].starts_with("all"));
  const Arguments subwords{"--subwords", ready / "subwords.model", "--steps", "2"};
  CHECK(run(two.train("run", subwords + Arguments{"--target-languages", "en,fr"})).code == 0);
  check_refused(two.train("other", subwords + Arguments{"--target-languages", "en,de"}),
                {"subwords.model: has no piece <2de> that asks for de", "--target-languages"});
}

TEST_CASE("texts of which too little is said are refused in one line", "[programs]") {
  const TwoLanguages two;
  const auto refuse = [&](const Arguments& more, const std::vector<std::string>& parts) {
    check_refused(two.train("refused", more), parts);
  };
  refuse({"--weights", "1"}, {"--weights 1: says 1 of 2 texts"});
  refuse({"--weights", "1,0"}, {"--weights", "numbers above 0"});
  refuse({"--weights", "1,"}, {"--weights", "numbers above 0"});
  refuse({"--target-languages", "en"}, {"--target-languages en: names 1 of 2 texts"});
  refuse({"--target-languages", "en,f r"}, {"--target-languages", "names of languages"});
  refuse({"--validation", two.texts[0], two.texts[1], "--validation-languages", "en"},
         {"--validation-languages", "no --target-languages"});
  refuse({"--target-languages", "en,fr", "--validation", two.texts[0], two.texts[1]},
         {"--validation: ", "give --validation-languages"});
  const Dictionary large(1, 1200);
  check_refused({tiny_translator(), "train", two.folder.write("large", large.source),
                 two.folder.write("large.en", large.target), two.folder.write("one", "hund\n"),
                 two.folder.write("one.en", "dog\n"), "--duplicates", "keep", "--hold-out", "0", "--weights", "1,1e9",
                 "--output", two.folder / "refused"},
                {"--weights 1,1e9", "1 pairs of ", "more than 1000 times"});
  check_refused(
      {tiny_translator(), "train", two.texts[0], two.texts[1], two.texts[2], "--output", two.folder / "refused"},
      {"source2: has no file of translations behind it"});
  const TranslationWorkshop workshop;
  REQUIRE(run(workshop.train("run", {"--steps", "2"})).code == 0);
  check_refused(
      {tiny_translator(), "translate", workshop.source, "--output", workshop.folder / "run", "--target-language", "en"},
      {"--target-language en", "was trained without target languages"});
}

}  // namespace translator_corpora_test
