// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <map>
#include <programs/language_model_run.hpp>
#include <string>
#include <support/sanitized.hpp>

namespace language_model_memory_test {

using namespace fathom_test;

/// Runs the program with memory that is scarce, as its preloaded library has it.
Ended run_with(const std::string& variable, const Arguments& command) {
  return run(Arguments{"env", std::string("LD_PRELOAD=") + FATHOM_TEST_SCARCE_MEMORY, variable} + command);
}

/// Whichever of its allocations fails, alone or with all later ones, the program says so in one line, or does without.
/// `command(i)` is the i-th that is run; `places` is how many allocations are tried, over the whole of the program.
/// `check_unharmed(i, output)` is told the standard output of each that did without, and first of one with all memory.
/// `begins`: what it may have said before.
template <class Command, class Check>
void check_out_of_memory(const Workshop& workshop, long places, Command command, Check check_unharmed,
                         const std::string& begins = "") {
  if (sanitized) SKIP("sanitizers allocate themselves");
#ifndef NDEBUG
  SKIP("with its assertions, nlohmann/json aborts where it gets no memory");
#endif
  const std::filesystem::path count = workshop.folder / "count";
  const Ended whole = run_with("FATHOM_TEST_COUNT=" + count.string(), command(0));
  REQUIRE(whole.code == 0);
  check_unharmed(0, whole.out);
  const long allocations = std::stol(fathom::read_file(count));
  REQUIRE(allocations > places);
  long failed = 0;
  for (long i = 0; i < 2 * places; ++i) {
    const long number = 1 + i / 2 * (allocations - 1) / (places - 1);
    const std::string which = std::to_string(number) + (i % 2 == 1 ? "+" : "");
    CAPTURE(which, allocations);
    const Arguments arguments = command(1 + i);
    Ended ended = run_with("FATHOM_TEST_FAIL=" + which, arguments);
    if (ended.code == 0) {  // a buffer of a stream, or a thread that is not needed
      check_unharmed(1 + i, ended.out);
      continue;
    }
    ++failed;
    CHECK(ended.code == 1);
    if (!begins.empty() && ended.err.starts_with(begins)) ended.err.erase(0, ended.err.find('\n') + 1);
    CHECK(error_line(ended).starts_with(std::filesystem::path(arguments[0]).filename().string() + ": "));
  }
  CHECK(failed > places);
}

/// What a run has learned and written down: its log, and the tensors and the state of its checkpoints.
std::map<std::string, std::string> results_of(const std::filesystem::path& output) {
  auto content = content_of(output);
  std::erase_if(content, [](const auto& entry) {
    return !entry.first.ends_with("log.csv") && !entry.first.ends_with(".safetensors") &&
           !entry.first.ends_with("config.json");
  });
  return content;
}

TEST_CASE("whatever allocation of training fails, the program says so", "[programs]") {
  const Workshop workshop;
  const auto output = [](long i) { return "run-" + std::to_string(i); };
  std::map<std::string, std::string> expected;
  check_out_of_memory(
      workshop, 40,
      [&](long i) {
        if (i > 0) std::filesystem::remove_all(workshop.folder / output(i - 1));
        return workshop.train(output(i),
                              {"--steps", "3", "--warmup", "1", "--validation-every", "2", "--save-every", "2"});
      },
      [&](long i, const std::string&) {
        const auto results = results_of(workshop.folder / output(i));
        if (i == 0) {
          expected = results;
          CHECK(expected.size() == 10);  // the log, and three checkpoints
        } else {
          check_same(results, expected);
        }
      });
}

TEST_CASE("whatever allocation of resuming fails, the program says so, and the run stays", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("run", {"--steps", "3", "--warmup", "1"})).code == 0);
  const auto before = content_of(workshop.folder / "run");
  check_out_of_memory(
      workshop, 15,
      [&](long) {
        return Arguments{tiny_model(), "train", "--resume", "--output", workshop.folder / "run"};
      },
      [](long, const std::string&) {});
  check_same(content_of(workshop.folder / "run"), before);
}

TEST_CASE("whatever allocation of the other commands fails, the program says so", "[programs]") {
  const Workshop workshop;
  const std::filesystem::path output = workshop.folder / "run";
  REQUIRE(run(workshop.train("run", {"--steps", "3", "--warmup", "1"})).code == 0);
  for (const Arguments& command : {Arguments{tiny_model(), "info"}, Arguments{tiny_model(), "train", "--help"},
                                   Arguments{tiny_model(), "sample", "--output", output, "--tokens", "3"},
                                   Arguments{tiny_model(), "evaluate", workshop.text, "--output", output}}) {
    CAPTURE(command);
    std::string expected;
    check_out_of_memory(
        workshop, 12, [&](long) { return command; },
        [&](long i, const std::string& out) {
          if (i == 0) expected = out;
          CHECK(out == expected);
        });
  }
}

TEST_CASE("whatever allocation fails while a folder is listed, the program says so", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("run", {"--steps", "3", "--warmup", "1"})).code == 0);
  const std::string text = fathom::read_file(workshop.text).substr(0, 200);
  for (int i = 0; i < 60; ++i) workshop.folder.write("texts/" + std::string(200, 'n') + std::to_string(i), text);
  std::string expected;
  check_out_of_memory(
      workshop, 50,
      [&](long) {
        return Arguments{tiny_model(), "evaluate", workshop.folder / "texts", "--batches",
                         "1",          "--output", workshop.folder / "run"};
      },
      [&](long i, const std::string& out) {
        if (i == 0) expected = out;
        CHECK(out == expected);
      },
      (workshop.folder / "texts").string() + ": 60 files");
}

TEST_CASE("training within less memory comes to the same bits", "[programs]") {
  const Workshop workshop;
  const auto total = [](const std::string& memory) {
    const Ended info = run({tiny_model(), "info", "--threads", "1", "--batch", "64", "--memory", memory});
    REQUIRE(info.code == 0);
    return std::stod(info.out.substr(info.out.find("  total") + 7));  // MiB
  };
  const double all = total("0");
  const std::string some = std::to_string(0.8 * all / 1024);
  CHECK(total(some) < 0.8 * all);
  for (const std::string& memory : {std::string("0"), some})
    REQUIRE(run(workshop.train(
                    memory, {"--steps", "3", "--warmup", "1", "--batch", "64", "--threads", "1", "--memory", memory}))
                .code == 0);
  const auto result = [&](const std::string& memory) {
    const std::filesystem::path output = workshop.folder / memory;
    return fathom::read_file(output / "log.csv") +
           run({tiny_model(), "evaluate", workshop.text, "--output", output}).out;
  };
  CHECK(result(some) == result("0"));  // checkpoints also hold what was asked for
  check_refused({tiny_model(), "info", "--memory", "0.0001"}, {"--memory 0.0001: training takes at least ", "--batch"});
}

}  // namespace language_model_memory_test
