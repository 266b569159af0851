// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <fathom/report/log.hpp>
#include <programs/language_model_run.hpp>
#include <programs/telemetry.hpp>

namespace language_model_telemetry_test {

using namespace fathom_test;

TEST_CASE("telemetry of a language model is in the run's folder, with its cost, and changes nothing else",
          "[programs]") {
  const Workshop workshop;
  const Ended watched = run(workshop.train("watched", {"--telemetry", "10"}));
  REQUIRE(watched.code == 0);
  check_telemetry(workshop.folder / "watched", watched.out, {"blocks.0", "blocks.1", "blocks.2", "blocks.3"}, 12);
  CHECK(watched.out.find("value: initial deviation 0.") != std::string::npos);
  const Ended plain = run(workshop.train("plain"));
  REQUIRE(plain.code == 0);
  CHECK(plain.out.find("telemetry") == std::string::npos);
  CHECK(!std::filesystem::exists(workshop.folder / "plain" / "telemetry"));
  // Every loss to the last bit.
  CHECK(fathom::read_file(workshop.folder / "watched" / "log.csv") ==
        fathom::read_file(workshop.folder / "plain" / "log.csv"));
}

TEST_CASE("telemetry of a model in mixed precision has the same tables", "[programs]") {
  const Workshop workshop;
  Arguments mixed = workshop.train("run", {"--telemetry", "10", "--steps", "20", "--warmup", "5"});
  mixed.front() = mixed_model();
  const Ended watched = run(mixed);
  CAPTURE(watched.err);
  REQUIRE(watched.code == 0);
  const fathom::CsvTable table = fathom::read_csv(workshop.folder / "run/telemetry/activation.csv");
  REQUIRE(table.rows.size() == 2);
  for (const auto& value : table.rows[0]) CHECK((value && *value > 0.1));
}

TEST_CASE("a run with telemetry ends in the same bits after a kill and after a stop", "[programs]") {
  const Workshop workshop;
  // Most of the time goes into validations, so that stops fall into them too.
  const Arguments options{"--telemetry", "5", "--validation-every", "5", "--validation-batches", "all"};
  REQUIRE(run(workshop.train("whole", options)).code == 0);
  const auto whole = content_of(workshop.folder / "whole");
  for (const int signal : {SIGKILL, SIGTERM}) {
    CAPTURE(signal);
    const std::filesystem::path output = workshop.folder / ("run" + std::to_string(signal));
    for (const long steps : {9, 34, 59, 61}) {
      Process process(workshop.train(output.filename().string(), options + Arguments{"--resume"}));
      wait_for_steps(process, output, steps);
      process.signal(signal);
      process.wait();
    }
    const Ended last = run({tiny_model(), "train", "--resume", "--output", output});
    CAPTURE(last.err);
    CHECK(last.code == 0);
    check_same(content_of(output), whole);
  }
}

TEST_CASE("telemetry that a program cannot have is refused", "[programs]") {
  const Workshop workshop;
  for (const char* value : {"-1", "x", "1.5", ""})
    check_refused(workshop.train("run", {"--telemetry", value}), {"--telemetry"});
  CHECK(!std::filesystem::exists(workshop.folder / "run" / "log.csv"));
}

}  // namespace language_model_telemetry_test
