// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <programs/language_model_run.hpp>
#include <support/sanitized.hpp>

namespace {

using namespace fathom_test;

/// Runs the program with memory that is scarce, as its preloaded library has it.
Ended run_with(const std::string& variable, const Arguments& command) {
  return run(Arguments{"env", std::string("LD_PRELOAD=") + FATHOM_TEST_SCARCE_MEMORY, variable} + command);
}

/// Whichever of its allocations fails, alone or with all later ones, the program says so in one line, or does without.
/// `command(i)` is the i-th that is run; `places` is how many allocations are tried, over the whole of the program.
template <class Command>
void check_out_of_memory(const Workshop& workshop, long places, Command command) {
  if (sanitized) SKIP("sanitizers allocate themselves");
  const std::filesystem::path count = workshop.folder / "count";
  REQUIRE(run_with("FATHOM_TEST_COUNT=" + count.string(), command(0)).code == 0);
  const long allocations = std::stol(fathom::read_file(count));
  REQUIRE(allocations > places);
  long failed = 0;
  for (long i = 0; i < 2 * places; ++i) {
    const long number = 1 + i / 2 * (allocations - 1) / (places - 1);
    const std::string which = std::to_string(number) + (i % 2 == 1 ? "+" : "");
    CAPTURE(which, allocations);
    const Arguments arguments = command(1 + i);
    const Ended ended = run_with("FATHOM_TEST_FAIL=" + which, arguments);
    if (ended.code == 0) continue;  // a buffer of a stream, or a thread that is not needed
    ++failed;
    CHECK(ended.code == 1);
    CHECK(error_line(ended).starts_with(std::filesystem::path(arguments[0]).filename().string() + ": "));
  }
  CHECK(failed > places);
}

TEST_CASE("whatever allocation of training fails, the program says so", "[programs]") {
  const Workshop workshop;
  const auto output = [](long i) { return "run-" + std::to_string(i); };
  check_out_of_memory(workshop, 40, [&](long i) {
    if (i > 0) std::filesystem::remove_all(workshop.folder / output(i - 1));
    return workshop.train(output(i), {"--steps", "3", "--warmup", "1", "--validation-every", "2", "--save-every", "2"});
  });
}

TEST_CASE("whatever allocation of resuming fails, the program says so, and the run stays", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("run", {"--steps", "3", "--warmup", "1"})).code == 0);
  const auto before = content_of(workshop.folder / "run");
  check_out_of_memory(workshop, 15, [&](long) {
    return Arguments{tiny_model(), "train", "--resume", "--output", workshop.folder / "run"};
  });
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
    check_out_of_memory(workshop, 12, [&](long) { return command; });
  }
}

}  // namespace
