// SPDX-License-Identifier: Apache-2.0
#include <fathom/train/average_checkpoints.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <vector>

#include "support/temporary_directory.hpp"
#include "train/batch_stream.hpp"

namespace average_checkpoints_test {

using namespace fathom_test;

using SmallWeights = Weights<SmallModel, Cpu<>>;

TEST_CASE("the last checkpoints of a run are averaged, and no others", "[average_checkpoints]") {
  const TemporaryDirectory folder;
  Trainer<SmallModel, Cpu<>, AdamW> trainer(SomeBatches::capacity, {}, {}, {.threads = 1});
  SomeBatches batches;
  std::vector<std::vector<float>> saved;
  TrainingRun run(trainer, batches, {.steps = 5, .learning_rate = [](std::int64_t) { return 1e-2; }});
  const DirectoryLock lock(folder.path());
  RunCheckpoints checkpoints(run, lock, {.every = 1, .keep = 3});
  for ([[maybe_unused]] const RunReport& report : run) {
    checkpoints.save_if_due();
    saved.push_back(values_of(trainer.weights().flat()));
  }

  const std::vector<float> mean =
      values_of(average_last_checkpoints<SmallModel, Cpu<>>(folder.path(), 3, {.threads = 1}).flat());
  for (std::size_t i = 0; i < mean.size(); ++i) {
    const double expected = (double(saved[2][i]) + double(saved[3][i]) + double(saved[4][i])) / 3;
    REQUIRE(std::abs(double(mean[i]) - expected) <= 1e-6 * std::max(1.0, std::abs(expected)));
  }
  const SmallWeights last = average_last_checkpoints<SmallModel, Cpu<>>(folder.path(), 1);
  CHECK(values_of(last.flat()) == saved.back());

  for (const int count : {0, 4})
    CHECK(message_of<Error>([&] {
            average_last_checkpoints<SmallModel, Cpu<>>(folder.path(), count);
          }).find("has 3 checkpoints where the last " + std::to_string(count)) != std::string::npos);
  using Other = PolicyModel<PreNorm>;
  CHECK(!message_of<Error>([&] { average_last_checkpoints<Other, Cpu<>>(folder.path(), 2); }).empty());
}

}  // namespace average_checkpoints_test
