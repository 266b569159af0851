// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <programs/language_model_run.hpp>
#include <sstream>

namespace language_model_precision_test {

using namespace fathom_test;

/// What `evaluate` prints behind the number of bytes.
double loss_of(const Arguments& command) {
  const Ended evaluated = run(command);
  REQUIRE(evaluated.code == 0);
  CHECK(evaluated.err.empty());
  std::istringstream words(evaluated.out);
  double bytes = 0, loss = 0;
  std::string word;
  words >> bytes >> word >> loss;
  return loss;
}

TEST_CASE("a model of mixed precision learns and writes, and each precision opens the other's checkpoints",
          "[programs]") {
  const Workshop workshop;
  for (const std::string& trainer : {mixed_model(), tiny_model()}) {
    const std::string name = std::filesystem::path(trainer).filename().string();
    const std::filesystem::path output = workshop.folder / name;
    Arguments command = workshop.train(name);
    command.front() = trainer;
    REQUIRE(run(command).code == 0);
    const double mixed = loss_of({mixed_model(), "evaluate", workshop.text, "--output", output});
    const double single = loss_of({tiny_model(), "evaluate", workshop.text, "--output", output});
    CHECK(single < 3);  // nats, of 5.5 for a model that knows nothing
    CHECK(std::abs(mixed / single - 1) < 0.01);
    CHECK(mixed != single);
    const Ended sampled = run({mixed_model(), "sample", "--output", output, "--tokens", "20"});
    CHECK(sampled.code == 0);
    CHECK(sampled.out.size() >= 20);
  }
}

}  // namespace language_model_precision_test
