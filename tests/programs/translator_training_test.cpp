// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <cstdlib>
#include <fathom/io/file.hpp>
#include <fathom/report/log.hpp>
#include <programs/translator_run.hpp>
#include <support/sanitized.hpp>

namespace translator_training_test {

using namespace fathom_test;

/// The number behind `words` in a text.
double number_behind(const std::string& text, std::string_view words) {
  const std::size_t place = text.find(words);
  CAPTURE(text);
  REQUIRE(place != std::string::npos);
  return std::atof(text.c_str() + place + words.size());
}

TEST_CASE("a translator learns a toy language", "[programs]") {
  const TranslationWorkshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  const Ended trained = run(workshop.train("run", {"--steps", "400", "--validation-every", "100", "--warmup", "50",
                                                   "--dropout", "0"}));
  CAPTURE(trained.err, trained.out);
  REQUIRE(trained.code == 0);
  const auto lines = lines_of(trained.err);
  CHECK(lines.back().starts_with("train 400/400 100%  loss "));
  for (const std::string& line : lines) CHECK(line.starts_with("train "));
  // What was kept of the text, and what was learned.
  CHECK(trained.out.find("kept") != std::string::npos);
  CHECK(trained.out.find("to learn from: 180 pairs") != std::string::npos);
  CHECK(trained.out.find("to validate on: 20 pairs") != std::string::npos);
  CHECK(trained.out.find("300 subwords") != std::string::npos);
  const double of_frequencies = number_behind(trained.out, "by the frequencies of tokens alone: ");
  CHECK((of_frequencies > 2 && of_frequencies < 3.5));
  CHECK(number_behind(trained.out, "best validation loss ") < 1);  // of 5.7 for a model that knows nothing
  CHECK(lines_of(fathom::read_file(output / "log.csv")).size() == 401);
  CHECK(fathom::read_file(output / "log.csv")
            .starts_with("step,loss,validation_loss,learning_rate,gradient_norm,cross_entropy,validation_bleu\n"));
  CHECK(fathom::read_file(output / "curves.svg").ends_with("</svg>\n"));
  CHECK(std::filesystem::exists(output / "subwords.model"));
}

TEST_CASE("a validation is of so many pairs, spread over its text", "[programs]") {
  const TranslationWorkshop workshop;
  const auto train = [&](const std::string& output, const std::string& pairs) {
    return run(workshop.train(output, {"--steps", "12", "--warmup", "1", "--validation-pairs", pairs}));
  };
  const Ended some = train("some", "7"), all = train("all", "all");
  CAPTURE(some.err);
  REQUIRE((some.code == 0 && all.code == 0));
  CHECK(some.out.find("to validate on: 7 pairs") != std::string::npos);
  CHECK(all.out.find("to validate on: 20 pairs") != std::string::npos);
  check_refused(workshop.train("none", {"--validation-pairs", "0"}), {"a whole number above 0 or all is needed"});
}

TEST_CASE("where no thread can be started, subwords are not learned, and one line says so", "[programs]") {
  if (sanitized) SKIP("sanitizers want to be the first library");
  const TranslationWorkshop workshop;
  const Ended ended = run(Arguments{"env", "LD_PRELOAD=" FATHOM_TEST_UNFRIENDLY_SYSTEM, "FATHOM_TEST_WITHOUT=threads"} +
                          workshop.train("run"));
  CHECK(ended.code == 1);
  const std::string line = error_line(ended);
  CHECK(line.starts_with("tiny-translator: "));
  CHECK(line.find("the system gives no more threads") != std::string::npos);
}

TEST_CASE("a translator of T5's shape learns in mixed precision, with an average, and is used", "[programs]") {
  const TranslationWorkshop workshop;
  Arguments command = workshop.train("run", {"--steps", "60", "--dropout", "0", "--average", "0.5", "--samples", "1"});
  command[0] = wordier_translator();
  const Ended trained = run(command);
  CAPTURE(trained.err, trained.out);
  REQUIRE(trained.code == 0);
  CHECK(number_behind(trained.out, "best validation loss ") <
        number_behind(trained.out, "by the frequencies of tokens alone: "));
  const Ended used = run({wordier_translator(), "translate", workshop.source, "--output", workshop.folder / "run"});
  CHECK(used.code == 0);
  CHECK(lines_of(used.out).size() == TranslationWorkshop::pairs);
}

TEST_CASE("a translator's run ends in the same bits after a kill, after Ctrl-C, and from the same text elsewhere",
          "[programs]") {
  const TranslationWorkshop workshop;
  const Arguments accumulated{"--batch", "400", "--pass", "200", "--average", "0.9", "--matrix-rates", "gain"};
  REQUIRE(run(workshop.train("whole", accumulated)).code == 0);
  const auto whole = content_of(workshop.folder / "whole");
  for (const int signal : {SIGKILL, SIGINT}) {
    const std::filesystem::path output = workshop.folder / ("run" + std::to_string(signal));
    Process process(workshop.train(output.filename().string(), accumulated));
    wait_for_steps(process, output, 25);
    process.signal(signal);
    const Ended ended = process.wait();
    CHECK(ended.code == (signal == SIGKILL ? -SIGKILL : 128 + SIGINT));
    // Nothing need be said again.
    const Ended resumed = run({tiny_translator(), "train", "--resume", "--output", output, "--threads", "1"});
    CAPTURE(resumed.err);
    CHECK(resumed.code == 0);
    check_same(content_of(output), whole);
  }
}

TEST_CASE("matrices learn by their gain where that is asked for, and a run keeps to it", "[programs]") {
  const TranslationWorkshop workshop;
  const auto losses = [&](const std::string& rates) {
    REQUIRE(run(workshop.train(rates, {"--steps", "2", "--warmup", "1", "--matrix-rates", rates})).code == 0);
    return fathom::read_csv(workshop.folder / rates / "log.csv").series("loss").y;
  };
  const auto equal = losses("equal"), gain = losses("gain");
  REQUIRE((equal.size() == 2 && gain.size() == 2));
  CHECK(equal[0] == gain[0]);  // of the initial weights
  CHECK(equal[1] != gain[1]);
  const Arguments resume{tiny_translator(), "train", "--resume", "--output", workshop.folder / "gain"};
  check_refused(resume + Arguments{"--matrix-rates", "equal"}, {"--matrix-rates is gain in the run to resume"});
  check_refused(workshop.train("none", {"--matrix-rates", "some"}), {"--matrix-rates", "equal or gain is needed"});
}

TEST_CASE("a run of a translator ends when validations get no better", "[programs]") {
  const TranslationWorkshop workshop;
  const Ended ended = run(workshop.train("run", {"--patience", "2", "--validation-every", "1", "--learning-rate", "1",
                                                 "--warmup", "1", "--steps", "500"}));
  CHECK(ended.code == 0);
  CHECK(ended.out.find("the last 2 validations were no better") != std::string::npos);
}

TEST_CASE("a text is prepared once, and trained on as it would have been", "[programs]") {
  const TranslationWorkshop workshop;
  const std::filesystem::path ready = workshop.folder / "ready";
  const auto noisy_source = workshop.folder.write("noisy.de", workshop.toy.source + "hund\n\nrot rot\n");
  const auto noisy_target = workshop.folder.write("noisy.en", workshop.toy.target + "\ndog\nred red\n");
  const Ended prepared = run({tiny_translator(), "prepare", noisy_source, noisy_target, "--output", ready,
                              "--duplicates", "keep"});
  CAPTURE(prepared.err);
  REQUIRE(prepared.code == 0);
  CHECK(prepared.err.empty());
  const auto table = lines_of(prepared.out);
  REQUIRE(table.size() >= 4);
  CHECK(table[0].find("empty") != std::string::npos);
  CHECK(table[1].find("203   201      2") != std::string::npos);
  CHECK(lines_of(fathom::read_file(ready / "train.source")).size() == 201);
  CHECK(lines_of(fathom::read_file(ready / "train.target")).back() == "red red");
  const Ended trained =
      run(Arguments{tiny_translator(), "train", ready / "train.source", ready / "train.target", "--output",
                    workshop.folder / "run", "--subwords", ready / "subwords.model"} +
          TranslationWorkshop::settings() + Arguments{"--steps", "3"});
  CAPTURE(trained.err);
  CHECK(trained.code == 0);
  CHECK(fathom::read_file(ready / "subwords.model") ==
        fathom::read_file(workshop.folder / "run" / "subwords.model"));
}

TEST_CASE("texts come as two files, as a table, or by Moses' names, and give one run", "[programs]") {
  const TranslationWorkshop workshop;
  std::string table;
  const auto sources = lines_of(workshop.toy.source), targets = lines_of(workshop.toy.target);
  for (std::size_t i = 0; i < sources.size(); ++i) table += "x\t" + targets[i] + "\t" + sources[i] + "\n";
  const auto tsv = workshop.folder.write("toy.tsv", table);
  const auto best = [&](const Arguments& files, const std::string& output) {
    const Ended ended = run(Arguments{tiny_translator(), "train"} + files +
                            Arguments{"--output", workshop.folder / output} + TranslationWorkshop::settings() +
                            Arguments{"--steps", "3"});
    CAPTURE(ended.err);
    REQUIRE(ended.code == 0);
    return fathom::read_file(workshop.folder / output / "log.csv");
  };
  const std::string expected = best({workshop.source, workshop.target}, "two");
  CHECK(best({tsv, "--source-column", "3", "--target-column", "2"}, "table") == expected);
  CHECK(best({workshop.folder / "toy", "--languages", "de-en"}, "moses") == expected);
}

TEST_CASE("a translator and its costs are described without training it", "[programs]") {
  const Ended info = run({tiny_translator(), "info"});
  CHECK(info.code == 0);
  CHECK(info.err.empty());
  CHECK(info.out.starts_with("2 encoder and 2 decoder layers, width 32, context 24, vocabulary 300\n"));
  for (const char* part : {"parameters", "MFLOP", "weights", "activations", "total"})
    CHECK(info.out.find(part) != std::string::npos);
}

}  // namespace translator_training_test
