// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstdint>
#include <experiments/report.hpp>
#include <experiments/verdict.hpp>
#include <filesystem>
#include <programs/process.hpp>
#include <programs/refusal.hpp>
#include <random>
#include <string>
#include <support/temporary_directory.hpp>
#include <system_error>
#include <thread>
#include <vector>

namespace depth_test {

/// The experiment kit: its rules, its files, and the program with two methods of two layers.
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
using fathom::experiments::Point;
using fathom::experiments::Result;
using fathom::experiments::Verdict;
using fathom::experiments::verdict_of;

/// Lines of words without sense, of which so many differ that they have 4,000 subwords.
std::string sentences(int lines, unsigned seed) {
  std::minstd_rand draw(seed);
  std::string text;
  for (int line = 0; line < lines; ++line)
    for (int word = 0; word < 8; ++word) {
      for (int letter = 0; letter < 6; ++letter) text += char('a' + draw() % 26);
      text += word < 7 ? ' ' : '\n';
    }
  return text;
}

Result with_losses(const std::vector<double>& losses) {
  Result result{.cell = {"reversal", "DeepNorm", 18, 1e-3, 2},
                .recipe = {"64-128-2", "", 300, 100, 30, 0},
                .curve = {},
                .unigram = 3,
                .machine = "a machine"};
  for (const double loss : losses)
    result.curve.push_back({10 * (std::ssize(result.curve) + 1), loss, loss, loss < 0.1 ? 0.995 : 0.5});
  return result;
}

TEST_CASE("a training is judged by its validation losses", "[depth]") {
  CHECK(verdict_of(with_losses({3.5, 2, 1, 0.05})) == Verdict::trained);
  CHECK(verdict_of(with_losses({3.5, 2, NAN, 0.05})) == Verdict::not_finite);
  CHECK(verdict_of(with_losses({3.5, 2, INFINITY})) == Verdict::not_finite);
  CHECK(verdict_of(with_losses({})) == Verdict::not_finite);
  CHECK(verdict_of(with_losses({2, 2.5, 3})) == Verdict::above_unigram);
  const auto in_halves = [](const std::vector<double>& losses) {
    Result result = with_losses(losses);
    result.recipe.steps = result.curve.back().step;
    return verdict_of(result);
  };
  CHECK(in_halves({3.1, 2.96, 2.955, 2.95}) == Verdict::stagnates);
  CHECK(in_halves({3.1, 2.99, 2.96, 2.9}) == Verdict::trained);    // late, and on its way
  CHECK(in_halves({3.1, 2.99, 2.955, 2.95}) == Verdict::trained);  // the half ends with the second of four
  CHECK(in_halves({2.95}) == Verdict::trained);                    // of which there is no first half
  CHECK(in_halves({2.96, 2.95}) == Verdict::stagnates);
  Result gave_up = with_losses({1});
  gave_up.gave_up = "updates were skipped";
  CHECK(verdict_of(gave_up) == Verdict::not_finite);
}

TEST_CASE("a ramp tells the largest learning rate before it diverged, and the best", "[depth]") {
  const auto tolerance = [](const std::vector<double>& losses) {
    Result result = with_losses(losses);
    result.cell.ramp = true;
    result.cell.rate = 0.03;  // a tenth of a thousandth an update, of 300
    return fathom::experiments::tolerance_of(result);
  };
  CHECK(std::abs(tolerance({3.5, 2, 1, 1.5, 3.1, 2}).largest - 0.004) < 1e-12);  // what comes after does not count
  CHECK(std::abs(tolerance({3.5, 2, 1, 1.5, 3.1, 0.5}).best - 0.003) < 1e-12);
  CHECK(std::abs(tolerance({3.5, 2, NAN, 1}).largest - 0.002) < 1e-12);
  CHECK(std::abs(tolerance({3.5, 2, 1}).largest - 0.003) < 1e-12);
  CHECK(tolerance({NAN}).largest == 0);
  CHECK(tolerance({3.5, 3.1, 3.2}).largest == 0);  // what has learned nothing cannot lose it
  CHECK(tolerance(std::vector<double>(30, 2.5)).more);
  CHECK(!tolerance(std::vector<double>(29, 2.5)).more);
  using fathom::experiments::ramp_is_over;
  CHECK(ramp_is_over(with_losses({3.5, 2, 3.1})));
  CHECK(ramp_is_over(with_losses({3.5, NAN})));
  CHECK(!ramp_is_over(with_losses({3.5, 2, 1})));
  CHECK(!ramp_is_over(with_losses({})));
  CHECK(!ramp_is_over(with_losses(std::vector<double>(14, 3.1))));  // of 30 validations
  CHECK(ramp_is_over(with_losses(std::vector<double>(15, 3.1))));
  CHECK(!ramp_is_over(with_losses(std::vector<double>(20, 2.9))));
}

TEST_CASE("a table has the mean of the seeds that trained, and how the others ended", "[depth]") {
  const TemporaryDirectory folder;
  std::vector<Result> results;
  const auto add = [&](const char* method, std::uint64_t seed, const std::vector<double>& losses, bool ramp = false) {
    results.push_back(with_losses(losses));
    results.back().cell.method = method;
    results.back().cell.seed = seed;
    results.back().cell.ramp = ramp;
    if (ramp) results.back().cell.rate = 0.03;
  };
  for (const std::uint64_t seed : {1, 2, 3}) add("DeepNorm", seed, {2, 1 + 0.1 * double(seed)});
  add("PostNorm", 1, {3.1, 3.2});
  add("PostNorm", 2, {2, 1.5});
  add("PostNorm", 3, {2, NAN});
  add("Admin", 1, {2, 1.25});
  add("DeepNorm", 1, {2, 1, 3.5}, true);
  add("DeepNorm", 2, std::vector<double>(30, 2.5), true);
  add("DeepNorm", 3, {3.5, 3.1}, true);
  fathom::experiments::write_report(folder.path(), results);
  const std::string report = fathom::read_file(folder / "report.md");
  for (const char* line :
       {"\n64-128-2 (width, feed-forward width, heads); 300 updates, warm-up 100, validations: 30, seeds: 3; unigram "
        "loss "
        "3.000 nats per token.\n",
        "\n0 s of training on a machine.\n", "\n| DeepNorm | 1.200 ± 0.100 |\n",
        "\n| PostNorm | 1.500, *above unigram* (1 of 3), *not finite* (1 of 3) |\n", "\n| Admin | 1.250, seeds: 1 |\n",
        "\n| DeepNorm | 0.0160 ± 0.0140, *never below unigram* (1 of 3), *not diverged* (1 of 3) |\n",
        "within 5 % of the unigram\n"})
    CHECK_THAT(report, ContainsSubstring(line));
  CHECK_THAT(report, !ContainsSubstring("Fewer than three seeds"));
  CHECK(fathom::experiments::Cell{"reversal", "DeepNorm", 18, 0.0010000001, 2}.name() ==
        "reversal-DeepNorm-18-0.0010000001-2");
  fathom::experiments::write_report(folder.path(), {results[6]});
  CHECK_THAT(fathom::read_file(folder / "report.md"), ContainsSubstring("Fewer than three seeds rank nothing."));
}

TEST_CASE("BLEU and accuracy are of the seeds that a table says", "[depth]") {
  const TemporaryDirectory folder;
  std::vector<Result> results;
  const auto add = [&](const char* method, std::uint64_t seed, const std::vector<double>& losses, double bleu) {
    results.push_back(with_losses(losses));
    results.back().cell.method = method;
    results.back().cell.seed = seed;
    results.back().recipe.translated = 20;
    results.back().bleu = bleu;
  };
  add("DeepNorm", 1, {2, 1}, 10);
  add("DeepNorm", 2, {2, 1}, 12);
  add("DeepNorm", 3, {3.1, 3.2}, 1);
  add("Admin", 1, {2, 0.05}, 30);
  fathom::experiments::write_report(folder.path(), results);
  const std::string report = fathom::read_file(folder / "report.md");
  for (const char* line :
       {"BLEU of 20 sentences to validate on:", "\n| DeepNorm | 11.0 ± 1.0, *above unigram* (1 of 3) |",
        "\n| Admin | 30.0, seeds: 1 |", "\n| Admin | 20, seeds: 1 |", "\n| DeepNorm | at 0.50 ± 0.00 |"})
    CHECK_THAT(report, ContainsSubstring(line));
}

TEST_CASE("a table in which nothing trained has a report and a picture", "[depth]") {
  const TemporaryDirectory folder;
  std::vector<Result> results;
  for (const std::uint64_t seed : {1, 2, 3}) {
    results.push_back(with_losses({3.2, 3.2}));
    results.back().cell.seed = seed;
    results.back().unigram = 3.1868857642592543;  // of which the mean of three is another number
  }
  fathom::experiments::write_report(folder.path(), results);
  CHECK_THAT(fathom::read_file(folder / "report.md"), ContainsSubstring("| DeepNorm | *above unigram* (3 of 3) |"));
}

TEST_CASE("a cell's result comes back from its file", "[depth]") {
  const TemporaryDirectory folder;
  Result result = with_losses({2, NAN, 0.05});
  result.recipe.texts = "a.txt b.txt";
  result.bleu = 12.5;
  fathom::experiments::save(folder.path(), result);
  CHECK(fathom::experiments::path_of(folder.path(), result.cell).filename() == "reversal-DeepNorm-18-0.001-2.json");
  const std::vector<Result> loaded = fathom::experiments::load_all(folder.path());
  REQUIRE(loaded.size() == 1);
  CHECK(loaded[0].cell.name() == result.cell.name());
  CHECK(std::isnan(loaded[0].curve[1].validation_loss));
  CHECK(loaded[0].loss() == 0.05);
  CHECK(loaded[0].reached(0.99) == 30);
  CHECK(loaded[0].unigram == 3);
  CHECK(loaded[0].recipe.difference(result.recipe).empty());
  CHECK(loaded[0].machine == "a machine");
  CHECK(loaded[0].bleu == 12.5);
}

TEST_CASE("fathom-depth trains a grid cell by cell, and goes on where it was", "[programs]") {
  const std::string program = FATHOM_TEST_EXAMPLES "/tiny-depth";
  if (!std::filesystem::exists(program)) SKIP(program + " is not built");
  const TemporaryDirectory folder;
  const std::filesystem::path output = folder / "grid";
  const auto grid = [&](const Arguments& more) {
    return run(Arguments{program, "run", "--output", output, "--steps", "4", "--warmup", "2", "--validations", "2"} +
               more);
  };
  const Ended first = grid({"--seeds", "1", "--methods", "PostNorm"});
  INFO(first.err);
  REQUIRE(first.code == 0);
  CHECK_THAT(first.out, ContainsSubstring("reversal-PostNorm-2-0.001-1"));
  const Ended both = grid({"--seeds", "2"});
  REQUIRE(both.code == 0);
  CHECK_THAT(both.out, !ContainsSubstring("reversal-PostNorm-2-0.001-1 "));  // it was there
  CHECK_THAT(both.out,
             ContainsSubstring("reversal-PostNorm-2-0.001-2") && ContainsSubstring("reversal-DeepNorm-2-0.001-1"));
  const std::string report = fathom::read_file(output / "report.md");
  CHECK_THAT(report, ContainsSubstring("## reversal, learning rate 0.001") && ContainsSubstring("| DeepNorm |") &&
                         ContainsSubstring("seeds: 2"));
  CHECK(std::filesystem::exists(output / "reversal-learning-rate-0.001.svg"));
  const std::string curves = fathom::read_file(output / "curves.csv");
  CHECK(std::ranges::count(curves, '\n') == 9);  // a heading, two validations of four cells
  CHECK_THAT(curves, ContainsSubstring("\nreversal,DeepNorm,2,0.001,0,2,4,"));
  const Ended ramp = run({program, "run", "--output", output, "--steps", "4", "--validations", "2", "--seeds", "1",
                          "--methods", "DeepNorm", "--ramp", "--rates", "0.05,0.05"});
  REQUIRE(ramp.code == 0);
  CHECK_THAT(ramp.out, ContainsSubstring("reversal-DeepNorm-2-ramp-0.05-1"));
  CHECK_THAT(fathom::read_file(output / "report.md"),
             ContainsSubstring("## reversal, learning rate rising to 0.05") && ContainsSubstring("before it diverged"));

  const auto validated = [&](const std::string& validations) {
    REQUIRE(run({program, "run", "--output", folder / validations, "--steps", "4", "--warmup", "2", "--validations",
                 validations, "--seeds", "1", "--methods", "DeepNorm"})
                .code == 0);
    const Result result = fathom::experiments::load_all(folder / validations).at(0);
    std::vector<std::int64_t> steps;
    for (const Point& point : result.curve) steps.push_back(point.step);
    return steps;
  };
  CHECK(validated("3") == std::vector<std::int64_t>{2, 3, 4});
  CHECK(validated("400") == std::vector<std::int64_t>{1, 2, 3, 4});

  check_refused({program, "run", "--output", output, "--steps", "5", "--warmup", "2", "--validations", "2"},
                {"was trained with --steps 4, not 5", "--output"});
  check_refused({program, "run", "--output", output, "--steps", "4", "--warmup", "3", "--validations", "2"},
                {"was trained with --warmup 2, not 3", "--output"});
  check_refused({program, "run", "--text", "here"}, {"--text: belongs to the task language"});
  check_refused({program, "run", "--task", "language", "--bleu", "3"}, {"--bleu: belongs to the task translation"});
  check_refused({program, "run", "--hold-out", "3"}, {"--hold-out: belongs to the task translation"});
  check_refused({program, "run", "--task", "translation", "--pairs", "a", "b", "c"}, {"--pairs: c has no file of"});
  check_refused(
      {program, "run", "--task", "translation", "--pairs", "a", "b", "--validation", "c", "d", "--hold-out", "3"},
      {"--hold-out: there is a --validation"});
  check_refused({program, "run", "--ramp", "--warmup", "3"}, {"--warmup", "leave it out"});
  check_refused({program, "run", "--output", ""}, {"--output", "a text is needed"});
  folder.write("taken/report.md/file", "");
  check_refused({program, "run", "--output", folder / "taken"}, {"report.md: a file is written here"});

  const std::filesystem::path cell = output / "cells" / "reversal-PostNorm-2-0.001-1.json";
  folder.write("grid/cells/reversal-PostNorm-2-0.001-1.json", "{}");
  check_refused({program, "run", "--output", output, "--seeds", "1", "--steps", "4"}, {cell.string(), "delete it"});
  std::filesystem::remove(cell);
  folder.write("grid/cells/reversal-PostNorm-2-0.001-9.json", "[");
  check_refused({program, "run", "--output", output, "--seeds", "3", "--steps", "4"}, {"1-9.json", "delete it"});
  CHECK(!std::filesystem::exists(output / "cells" / "reversal-PostNorm-2-0.001-3.json"));  // nothing was trained
  check_refused({program, "run", "--depths", "0x2"}, {"--depths", "a whole number from 1"});
  check_refused({program, "run", "--depths", "0"}, {"--depths", "a whole number from 1"});
  check_refused({program, "run", "--rates", "0x1p-10"}, {"--rates", "a number above 0"});
  check_refused({program, "run", "--rates", "nan"}, {"--rates", "a number above 0"});
  check_refused({program, "run", "--methods", "Nothing"}, {"the method Nothing was not compiled", "DeepNorm PostNorm"});
  check_refused({program, "run", "--depths", "7"}, {"the depth 7 was not compiled"});
  check_refused({program, "run", "--task", "chess"}, {"the task chess was not compiled"});
}

TEST_CASE("fathom-depth models a text, and translates", "[programs]") {
  const std::string program = FATHOM_TEST_EXAMPLES "/tiny-depth";
  if (!std::filesystem::exists(program)) SKIP(program + " is not built");
  const TemporaryDirectory folder;
  const std::filesystem::path source = folder.write("a.txt", sentences(600, 1)),
                              target = folder.write("b.txt", sentences(600, 2));
  const auto train = [&](const char* task, const Arguments& more) {
    return Arguments{program,   "run", "--task",   task, "--output",      folder / task,
                     "--steps", "4",   "--warmup", "2",  "--validations", "2"} +
           more;
  };
  const Ended language = run(train("language", {"--seeds", "1", "--text", source}));
  INFO(language.err);
  REQUIRE(language.code == 0);
  CHECK_THAT(fathom::read_file(folder / "language/report.md"), ContainsSubstring("texts: a.txt; unigram loss 3."));
  check_refused(train("language", {"--seeds", "1"}), {"was trained with texts a.txt, not none"});
  folder.write("other/a.txt", std::string(50000, 'a'));
  const Arguments other = train("language", {"--seeds", "2", "--text", folder / "other/a.txt"});
  check_refused(other, {"-0.001-1.json: was trained on another text of the same name"});
  CHECK(fathom::experiments::load_all(folder / "language").size() == 2);  // nothing was trained

  check_refused(train("translation", {"--pairs", source, target}), {"--hold-out 500", "give less"});
  check_refused(train("translation", {"--pairs", source, target, "--hold-out", "20", "--bleu", "21"}),
                {"--bleu 21: there are 20 sentences to validate on"});
  const Ended translation =
      run(train("translation", {"--seeds", "1", "--pairs", source, target, "--hold-out", "20", "--bleu", "20"}));
  INFO(translation.err);
  REQUIRE(translation.code == 0);
  CHECK_THAT(fathom::read_file(folder / "translation/report.md"),
             ContainsSubstring("texts: a.txt b.txt (of each the last 20 validate); ") &&
                 ContainsSubstring("BLEU of 20 sentences to validate on:"));
}

TEST_CASE("a grid that is stopped keeps its cells, and says which one begins again", "[programs]") {
  const std::string program = FATHOM_TEST_EXAMPLES "/tiny-depth";
  if (!std::filesystem::exists(program)) SKIP(program + " is not built");
  const TemporaryDirectory folder;
  const std::filesystem::path output = folder / "grid";
  Process grid({program, "run", "--output", output, "--steps", "20", "--warmup", "2", "--seeds", "10000"});
  while (grid.running() && !std::filesystem::exists(output / "report.md")) std::this_thread::yield();
  check_refused({program, "run", "--output", output, "--steps", "20", "--warmup", "2"}, {"is in use"});
  grid.signal(SIGINT);
  const Ended ended = grid.wait();
  CHECK(ended.code == 128 + SIGINT);
  const auto cells = std::size_t(std::ranges::count(ended.out, '\n'));
  CHECK(fathom::experiments::load_all(output).size() == cells);
  CHECK_THAT(ended.err, ContainsSubstring("the same command begins again with reversal-"));
}

TEST_CASE("cells that are trained side by side are those that are trained one behind another", "[programs]") {
  const std::string program = FATHOM_TEST_EXAMPLES "/tiny-depth";
  if (!std::filesystem::exists(program)) SKIP(program + " is not built");
  const TemporaryDirectory folder;
  const auto grid = [&](const std::string& name, const std::string& jobs) {
    const Ended ended = run(
        {program, "run", "--output", folder / name, "--steps", "4", "--warmup", "2", "--seeds", "3", "--jobs", jobs});
    INFO(ended.err);
    REQUIRE(ended.code == 0);
    std::vector<std::vector<double>> losses;
    for (const Result& result : fathom::experiments::load_all(folder / name)) {
      losses.emplace_back();
      for (const auto& point : result.curve) losses.back().push_back(point.validation_loss);
    }
    return losses;
  };
  const auto one_behind_another = grid("one", "1");
  CHECK(one_behind_another.size() == 6);
  CHECK(grid("several", "4") == one_behind_another);
  check_refused({program, "run", "--jobs", "0"}, {"--jobs", "a whole number from 1"});
}

TEST_CASE("a cell that nobody has trained is refused", "[depth]") {
  const TemporaryDirectory folder;
  const Result result = with_losses({2, 1});
  fathom::experiments::save(folder.path(), result);
  const std::filesystem::path path = fathom::experiments::path_of(folder.path(), result.cell);
  const std::string good = fathom::read_file(path);
  for (const auto& [field, value] : {std::pair("\"depth\": 18", "\"depth\": 2.9"), {"\"seed\": 2", "\"seed\": -1"}}) {
    std::string bad = good;
    REQUIRE(bad.find(field) != std::string::npos);
    bad.replace(bad.find(field), std::string(field).size(), value);
    folder.write("cells/" + path.filename().string(), bad);
    CHECK_THROWS_WITH(fathom::experiments::load(path),
                      ContainsSubstring("a count in it is") && ContainsSubstring("delete it"));
  }
}

TEST_CASE("a grid whose folder is removed ends, and leaves the next one alone", "[programs]") {
  const std::string program = FATHOM_TEST_EXAMPLES "/tiny-depth";
  if (!std::filesystem::exists(program)) SKIP(program + " is not built");
  const TemporaryDirectory folder;
  const std::filesystem::path output = folder / "grid";
  Process grid(
      {program, "run", "--output", output, "--steps", "20", "--warmup", "2", "--seeds", "10000", "--jobs", "2"});
  while (grid.running() && !std::filesystem::exists(output / "report.md")) std::this_thread::yield();
  std::filesystem::rename(output, folder / "gone");
  const Ended ended = grid.wait();
  CHECK(ended.code == 1);
  CHECK_THAT(ended.err, ContainsSubstring("was removed or replaced"));
  CHECK(!std::filesystem::exists(output / "cells"));
}

}  // namespace depth_test
