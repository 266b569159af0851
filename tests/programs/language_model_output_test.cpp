// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <programs/language_model_run.hpp>

namespace language_model_output_test {

using namespace fathom_test;

/// Runs a command in a shell's pipe or with its redirections, `"$@"` in `script`; its own exit code is in the file
/// $CODE.
int code_in(const std::string& script, const Workshop& workshop, const Arguments& command) {
  const std::filesystem::path code = workshop.folder / "code";
  const Ended ended = run(Arguments{"env", "CODE=" + code.string(), "sh", "-c", script, "sh"} + command);
  CHECK(ended.err.empty());
  return std::stoi(fathom::read_file(code));
}

TEST_CASE("a run goes on to its end when nobody takes what it prints", "[programs]") {
  const Workshop workshop;
  const Arguments few{"--steps", "30"};
  REQUIRE(run(workshop.train("whole", few)).code == 0);
  for (const std::string script :
       {"{ \"$@\" 2>&1; echo $? > \"$CODE\"; } | true", "{ \"$@\" 2>&1; echo $? > \"$CODE\"; } | head -n 1 > /dev/null",
        "\"$@\" > /dev/full 2>&1; echo $? > \"$CODE\"", "{ \"$@\" 2> /dev/full; echo $? > \"$CODE\"; } | true"}) {
    CAPTURE(script);
    CHECK(code_in(script, workshop, workshop.train("run", few)) == 0);
    check_same(content_of(workshop.folder / "run"), content_of(workshop.folder / "whole"));
    std::filesystem::remove_all(workshop.folder / "run");
  }
}

TEST_CASE("a sample ends with its reader, without a word", "[programs]") {
  const Workshop workshop;
  REQUIRE(run(workshop.train("run", {"--steps", "20"})).code == 0);
  // Far more than is drawn in a test's time.
  const Arguments sample{tiny_model(), "sample",   "--output", workshop.folder / "run",
                         "--tokens",   "50000000", "--top-k",  "1"};
  CHECK(code_in("{ \"$@\"; echo $? > \"$CODE\"; } | head -c 1 > /dev/null", workshop, sample) == 128 + SIGPIPE);
}

}  // namespace language_model_output_test
