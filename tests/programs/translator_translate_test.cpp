// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <cstdlib>
#include <fathom/io/file.hpp>
#include <programs/translator_run.hpp>

namespace translator_translate_test {

using namespace fathom_test;

/// A translator that has learned the toy language, trained once for all tests here.
struct Trained {
  TranslationWorkshop workshop;
  std::filesystem::path output = workshop.folder / "run";

  Trained() {
    const Ended ended = run(workshop.train(
        "run", {"--steps", "600", "--validation-every", "300", "--save-every", "200", "--warmup", "50", "--dropout",
                "0", "--batch", "512", "--samples", "1"}));
    CAPTURE(ended.err);
    REQUIRE(ended.code == 0);
    CHECK(ended.err.find("train 300: ") != std::string::npos);  // a sample translation
    CHECK(ended.err.find(" => ") != std::string::npos);
  }
  static const Trained& once() {
    static const Trained trained;
    return trained;
  }

  Arguments translate(const Arguments& more = {}) const {
    return Arguments{tiny_translator(), "translate", "--output", output, "--threads", "1"} + more;
  }
  /// Of a text on stdin.
  Ended translated(const std::string& text, const Arguments& more = {}) const {
    const auto input = workshop.folder.write("input.de", text);
    std::string command;
    for (const std::string& argument : translate(more)) command += "'" + argument + "' ";
    return run({"sh", "-c", command + "< '" + input.string() + "'"});
  }
};

TEST_CASE("translate gives one line a line, in their order, from a file and from stdin", "[programs]") {
  const Trained& trained = Trained::once();
  const ToyPairs unseen(60, 7);
  const auto input = trained.workshop.folder.write("unseen.de", unseen.source + "\n  \nhund\n");
  const Ended from_file = run(trained.translate({input, "--sentences", "4"}));
  CAPTURE(from_file.err);
  CHECK(from_file.code == 0);
  CHECK(from_file.err.empty());
  std::vector<std::string> lines = lines_of(from_file.out);
  REQUIRE(lines.size() == 63);
  CHECK(lines[60].empty());
  CHECK(lines[61].empty());
  CHECK(lines[62] == "dog");
  const auto expected = lines_of(unseen.target);
  int right = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) right += lines[i] == expected[i];
  CHECK(right > 25);  // of 60 sentences, none of which can be guessed

  const Ended from_stdin = trained.translated(unseen.source + "\n  \nhund\n", {"--sentences", "4"});
  CHECK(from_stdin.code == 0);
  CHECK(from_stdin.out == from_file.out);
  const Ended nothing = trained.translated("");
  CHECK(nothing.code == 0);
  CHECK((nothing.out.empty() && nothing.err.empty()));
}

TEST_CASE("a translation is there before the next line is asked for", "[programs]") {
  const Trained& trained = Trained::once();
  const auto answer = trained.workshop.folder / "answer";
  std::string command;
  for (const std::string& argument : trained.translate()) command += "'" + argument + "' ";
  // The second line comes when the first one's translation is there.
  const Ended ended = run({"sh", "-c",
                           "(echo hund; n=0; while [ ! -s '" + answer.string() +
                               "' ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done; echo katze) | " + command + "> '" +
                               answer.string() + "'; wc -l < '" + answer.string() + "'; echo done"});
  CHECK(ended.err.empty());
  CHECK(fathom::read_file(answer) == "dog\ncat\n");
}

TEST_CASE("n best translations and draws", "[programs]") {
  const Trained& trained = Trained::once();
  const Ended best = trained.translated("hund\nrot haus\n", {"--n-best", "3", "--beam", "4"});
  CHECK(best.code == 0);
  const auto lines = lines_of(best.out);
  REQUIRE(lines.size() == 6);
  double before = 1;
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(lines[i].starts_with(i < 3 ? "1\t" : "2\t"));
    const double score = std::atof(lines[i].c_str() + 2);
    CHECK((i == 3 || score <= before));
    before = score;
  }
  CHECK(lines[0].ends_with("\tdog"));
  const Arguments draws{"--sample", "--temperature", "3", "--n-best", "5", "--seed"};
  const Ended first = trained.translated("rot haus\n", draws + Arguments{"1"});
  CHECK(first.code == 0);
  CHECK(lines_of(first.out).size() == 5);
  CHECK(trained.translated("rot haus\n", draws + Arguments{"1"}).out == first.out);
  CHECK(trained.translated("rot haus\n", draws + Arguments{"2"}).out != first.out);
  const Ended greedy = trained.translated("rot haus\n", {"--beam", "1"});
  CHECK(trained.translated("rot haus\n", {"--sample", "--temperature", "0"}).out == greedy.out);
  CHECK(trained.translated("rot haus\n", {"--last", "2", "--length-penalty", "0.6"}).code == 0);
}

TEST_CASE("what cannot be translated is told in one line, behind the translations before it", "[programs]") {
  const Trained& trained = Trained::once();
  const auto refuse = [&](const std::string& text, const std::vector<std::string>& parts) {
    const Ended ended = trained.translated("hund\nkatze\n" + text + "hund\n");
    CHECK(ended.code == 1);
    CHECK(ended.out == "dog\ncat\n");
    const std::string line = error_line(ended);
    for (const std::string& part : parts) {
      CAPTURE(line, part);
      CHECK(line.find(part) != std::string::npos);
    }
  };
  std::string words;
  for (int i = 0; i < 40; ++i) words += "hund ";
  refuse(words + "\n", {"stdin: line 3: has ", "the model reads at most 24"});
  refuse("caf\xe9\n", {"stdin: line 3 is not UTF-8 at byte 4"});
  const auto& folder = trained.workshop.folder;
  check_refused(trained.translate({folder / "none.de"}), {"none.de"});
  check_refused(trained.translate({"--n-best", "6"}), {"--n-best 6", "--beam 5 finds fewer", "at least 6"});
  for (const char* option : {"--temperature", "--top-k", "--top-p", "--min-p", "--seed"})
    check_refused(trained.translate({option, "1"}), {option, "requires --sample"});
  check_refused(trained.translate({"--beam", "2", "--sample"}), {"--sample"});
  check_refused({tiny_translator(), "translate", "--output", folder / "nowhere"}, {"has no checkpoint"});
  check_refused({deeper_translator(), "translate", "--output", trained.output},
                {"is a checkpoint of 2+2 layers", "this program is for 4+4"});
  check_refused({wordier_translator(), "translate", "--output", trained.output}, {"is a subword model of 300 pieces"});
}

TEST_CASE("evaluate prints loss and scores with their signatures", "[programs]") {
  const Trained& trained = Trained::once();
  const ToyPairs unseen(60, 7);
  const auto& folder = trained.workshop.folder;
  const auto source = folder.write("unseen.de", unseen.source), target = folder.write("unseen.en", unseen.target);
  const Arguments evaluate{tiny_translator(), "evaluate", source, target, "--output", trained.output, "--threads", "1"};
  const Ended ended = run(evaluate + Arguments{"--tokenizer", "none", "--translations", folder / "found.en"});
  CAPTURE(ended.err, ended.out);
  REQUIRE(ended.code == 0);
  const auto lines = lines_of(ended.out);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].starts_with("60 pairs, "));
  CHECK(lines[0].find("nats per token, perplexity ") != std::string::npos);
  CHECK(lines[0].find("bits per character") != std::string::npos);
  CHECK(lines[1].starts_with("BLEU|nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:fathom-"));
  CHECK(lines[2].starts_with("chrF2|nrefs:1|"));
  CHECK(std::atof(lines[1].c_str() + lines[1].find(" = ") + 3) > 50);
  CHECK(fathom::read_file(folder / "found.en") == run(trained.translate({source})).out);
  std::filesystem::create_directory(folder / "folder.en");
  check_refused(evaluate + Arguments{"--translations", folder / "folder.en"}, {"folder.en", "this is none"});
  check_refused(evaluate + Arguments{"--translations", folder / "nowhere" / "found.en"}, {"nowhere", "cannot write"});
  check_refused(evaluate + Arguments{"--length-penalty", "nan"}, {"--length-penalty", "a number that is finite"});
  check_refused({tiny_translator(), "evaluate", source, trained.workshop.target, "--output", trained.output},
                {"has 60 lines", "has 200 lines"});
}

TEST_CASE("what cannot be evaluated is told in one line, and an empty side is no mistake", "[programs]") {
  const Trained& trained = Trained::once();
  const auto& folder = trained.workshop.folder;
  const auto pair = [&](const std::string& source, const std::string& target) {
    return Arguments{folder.write("pair.de", source), folder.write("pair.en", target), "--output", trained.output};
  };
  std::string words;
  for (int i = 0; i < 40; ++i) words += "hund ";
  for (const char* command : {"evaluate", "score"}) {
    const Arguments program{tiny_translator(), command};
    check_refused(program + pair("hund\n", "caf\xe9\n"), {"pair.en: line 1 is not UTF-8 at byte 4"});
    check_refused(program + pair("hund\n", "dog\ncat\n"), {"pair.de has 1 line and ", "pair.en has 2 lines"});
    check_refused(Arguments{deeper_translator(), command} + pair("hund\n", "dog\n"),
                  {"is a checkpoint of 2+2 layers", "this program is for 4+4"});
    check_refused(Arguments{wordier_translator(), command} + pair("hund\n", "dog\n"),
                  {"is a subword model of 300 pieces"});
    const Ended ended = run(program + pair("hund\n\nhund\n", "dog\ndog\n\n"));
    CAPTURE(ended.err);
    CHECK(ended.code == 0);
  }
  check_refused(Arguments{tiny_translator(), "evaluate"} + pair("hund\n" + words + "\n", "dog\ndog\n"),
                {"pair.de: 1 pair has a side of more than the 24 tokens", "the first is line 2"});
}

TEST_CASE("all texts that are named count, or are refused", "[programs]") {
  const Trained& trained = Trained::once();
  const auto& folder = trained.workshop.folder;
  const std::filesystem::path source = trained.workshop.source, target = trained.workshop.target;
  for (const char* command : {"evaluate", "score"}) {
    const Arguments program{tiny_translator(), command, "--output", trained.output};
    check_refused(program + Arguments{folder / "none.de", source, target}, {"toy.en: has no file of translations"});
    check_refused(program + Arguments{source, target, source, target}, {"toy.de: is a second text", "one at a time"});
    const auto table = folder.write("table.tsv", "hund\tdog\n");
    check_refused(program + Arguments{"--tables", table, table}, {"table.tsv: is a second text"});
  }
}

TEST_CASE("given translations are scored as those that are found", "[programs]") {
  const Trained& trained = Trained::once();
  const auto& folder = trained.workshop.folder;
  const ToyPairs unseen(40, 9);
  const auto source = folder.write("scored.de", unseen.source);
  const Arguments options{"--length-penalty", "0.6"};
  const Ended best = run(trained.translate(Arguments{source, "--n-best", "1"} + options));
  REQUIRE(best.code == 0);
  std::string targets, table;
  std::vector<std::string> scores;
  const auto sources = lines_of(unseen.source);
  for (const std::string& line : lines_of(best.out)) {
    const std::size_t first = line.find('\t'), second = line.find('\t', first + 1);
    scores.push_back(line.substr(first + 1, second - first - 1));
    const std::string target = line.substr(second + 1);
    table += sources[scores.size() - 1] + "\t" + target + "\n";
    targets += target + "\n";
  }
  REQUIRE(scores.size() == 40);
  const auto target = folder.write("scored.en", targets);
  const Arguments score{tiny_translator(), "score", "--output", trained.output, "--threads", "1", "--batch", "50"};
  const Ended scored = run(score + options + Arguments{source, target});
  CAPTURE(scored.err);
  REQUIRE(scored.code == 0);
  CHECK(scored.err.empty());
  const auto lines = lines_of(scored.out);
  REQUIRE(lines.size() == 40);
  int same = 0;
  for (std::size_t i = 0; i < 40; ++i)
    same += std::abs(std::atof(lines[i].c_str() + lines[i].rfind('\t')) - std::stod(scores[i])) <= 2e-4;
  CHECK(same >= 36);  // a text may be cut into other tokens than those that were found
  // A translation that is wrong is worth less, and all pairs in one pass give what each gives.
  const Ended wrong = run(score + Arguments{folder.write("one.de", "hund\n"), folder.write("one.en", "cat\n")});
  const Ended right = run(score + Arguments{folder.write("one.de", "hund\n"), folder.write("one.en", "dog\n")});
  CHECK(std::atof(wrong.out.c_str()) < std::atof(right.out.c_str()) - 1);
  // From stdin a table is read.
  const auto piped = [&](const std::string& text) {
    std::string command;
    for (const std::string& argument : score + options) command += "'" + argument + "' ";
    return run({"sh", "-c", command + "< '" + folder.write("table", text).string() + "'"});
  };
  CHECK(piped(table).out == scored.out);
  std::string words;
  for (int i = 0; i < 40; ++i) words += "hund ";
  const Ended longer = piped(table + words + "\tdog\n");
  CHECK(longer.code == 1);
  CHECK(longer.out == scored.out);
  CHECK(error_line(longer).find("stdin: line 41: its source has ") != std::string::npos);
  const Ended without = piped(table + "hund dog\n");
  CHECK(without.code == 1);
  CHECK(without.out == scored.out);
  CHECK(error_line(without).find("stdin: line 41 has no tab") != std::string::npos);
}

TEST_CASE("the BLEU of a validation decides on what is best", "[programs]") {
  const TranslationWorkshop workshop;
  const Arguments by_bleu{"--validate-by", "bleu", "--tokenizer", "none", "--samples", "0", "--steps", "40"};
  const Ended ended = run(workshop.train("whole", by_bleu));
  CAPTURE(ended.err);
  REQUIRE(ended.code == 0);
  CHECK(ended.out.find("best validation BLEU ") != std::string::npos);
  const auto header = lines_of(fathom::read_file(workshop.folder / "whole" / "log.csv"))[0];
  CHECK(header.ends_with(",cross_entropy,validation_bleu"));
  Process process(workshop.train("run", by_bleu));
  wait_for_steps(process, workshop.folder / "run", 15);
  process.signal(SIGKILL);
  process.wait();
  CHECK(run({tiny_translator(), "train", "--resume", "--output", workshop.folder / "run", "--threads", "1"}).code == 0);
  check_same(content_of(workshop.folder / "run"), content_of(workshop.folder / "whole"));
}

}  // namespace translator_translate_test
