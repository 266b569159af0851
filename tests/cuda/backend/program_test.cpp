// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <programs/language_model_run.hpp>
#include <string>

namespace program_test {

/// Programs that hold both backends, on the emulated device.
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;

std::string program(const char* name) {
  const std::string path = FATHOM_TEST_EMULATED "/" + std::string(name);
  if (!std::filesystem::exists(path)) SKIP(path + " is not built");
  return path;
}

TEST_CASE("a language model's program trains on one device and goes on on the other", "[programs]") {
  const Workshop workshop;
  const std::string lm = program("emulated-lm");
  const auto train = [&](const char* output, const Arguments& more) {
    return Arguments{lm, "train", workshop.text, "--output", workshop.folder / output} +
           Arguments{"--steps", "6", "--batch", "1", "--warmup", "2", "--validation-batches", "none"} + more;
  };
  const auto loss = [&](const char* output, const char* device) {
    const Ended evaluated = run({lm, "evaluate", workshop.text, "--output", workshop.folder / output, "--batches", "2",
                                 "--batch", "1", "--device", device});
    INFO(evaluated.err);
    REQUIRE(evaluated.code == 0);
    const auto comma = evaluated.out.find("bytes, ");
    REQUIRE(comma != std::string::npos);
    return std::stod(evaluated.out.substr(comma + 7));
  };
  REQUIRE(run(train("cpu", {})).code == 0);
  const Ended trained = run(train("both", {"--save-every", "3", "--device", "cuda"}));
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(std::abs(loss("both", "cuda") - loss("cpu", "cpu")) < 2e-4);
  CHECK(!std::filesystem::exists(workshop.folder / "cpu" / "plans"));

  std::filesystem::remove_all(checkpoint_of(workshop.folder / "both", 6));  // as if it had been stopped
  REQUIRE(run({lm, "train", "--output", workshop.folder / "both", "--resume"}).code == 0);
  CHECK(std::abs(loss("both", "cpu") - loss("cpu", "cpu")) < 2e-4);

  const Ended sampled = run({lm, "sample", "--output", workshop.folder / "both", "--tokens", "5", "--device", "cuda"});
  CHECK(sampled.code == 0);
  CHECK(sampled.out.size() >= 9);
  CHECK_THAT(run({lm, "info", "--device", "cuda"}).out, ContainsSubstring("cuda"));
  CHECK_THAT(run({lm, "info", "--device", "gpu"}).err,
             ContainsSubstring("--device gpu: this program has cpu and cuda"));
}

TEST_CASE("fathom-verify compares the device with the CPU", "[programs]") {
  for (const Arguments& more : {Arguments{}, Arguments{"--precision", "Mixed"}}) {
    const Ended verified = run(Arguments{program("emulated-verify"), "cpu", "cuda", "--steps", "1"} + more);
    INFO(verified.out << verified.err);
    CHECK(verified.code == 0);
    CHECK_THAT(verified.out, ContainsSubstring("translator: cpu and cuda agree in "));
  }
}

}  // namespace program_test
