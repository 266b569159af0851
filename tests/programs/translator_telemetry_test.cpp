// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <programs/telemetry.hpp>
#include <programs/translator_run.hpp>

namespace translator_telemetry_test {

using namespace fathom_test;

TEST_CASE("telemetry of a translator has both stacks, and goes on with a run that was killed", "[programs]") {
  const TranslationWorkshop workshop;
  const Arguments options{"--telemetry", "10"};
  const Ended whole = run(workshop.train("whole", options));
  CAPTURE(whole.err);
  REQUIRE(whole.code == 0);
  check_telemetry(workshop.folder / "whole", whole.out,
                  {"encoder.blocks.0", "encoder.blocks.1", "decoder.blocks.0", "decoder.blocks.1"}, 6);
  const std::filesystem::path output = workshop.folder / "killed";
  Process process(workshop.train("killed", options));
  wait_for_steps(process, output, 35);
  process.signal(SIGKILL);
  process.wait();
  CHECK(run({tiny_translator(), "train", "--resume", "--output", output, "--threads", "1"}).code == 0);
  check_same(content_of(output), content_of(workshop.folder / "whole"));
}

TEST_CASE("telemetry that is no number of updates is refused", "[programs]") {
  const TranslationWorkshop workshop;
  for (const char* value : {"-1", "x", "1.5", ""})
    check_refused(workshop.train("run", {"--telemetry", value}), {"--telemetry"});
}

}  // namespace translator_telemetry_test
