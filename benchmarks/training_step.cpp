// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/core/random.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <iostream>
#include <string_view>
#include <vector>

#include "shape.hpp"

/// Training steps on random tokens. Prints one line of JSON for compare_pytorch.py:
///   training_step_<name> --steps K --threads N
int main(int argc, char** argv) {
  using namespace fathom;
  using Shape = benchmark::Shape<FATHOM_SHAPE>;
  using Model = Shape::Model;
  if (argc == 2 && argv[1] == std::string_view("--shape")) {
    std::cout << Shape::text() << "\n";
    return 0;
  }
  const int steps = benchmark::option(argc, argv, "--steps", 5), threads = benchmark::option(argc, argv, "--threads", 2);
  const PackedRows rows = PackedRows::uniform(Shape::batch, Shape::context);
  std::vector<int> tokens, targets;
  for (int i = 0; i < rows.rows(); ++i) {
    const auto bits = Philox(Key{1})(std::uint64_t(i));
    tokens.push_back(int(below(Model::vocabulary, low_bits(bits))));
    targets.push_back(int(below(Model::vocabulary, high_bits(bits))));
  }
  const TokenBatch batch{rows.view(), tokens, targets};
  Trainer<Model, Cpu<>, AdamW> trainer(rows.capacity(), {}, {.learning_rate = 1e-4}, {.threads = threads});
  trainer.step(batch);  // warms up

  double total = 0;
  std::cout << "{\"seconds_per_step\": [";
  for (int step = 0; step < steps; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    trainer.step(batch);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    total += seconds;
    std::cout << (step == 0 ? "" : ", ") << seconds;
  }
  const MemoryPlan plan = training_memory<Model, Cpu<>, AdamW>(rows.capacity(), threads);
  std::cout << "], \"tokens_per_second\": " << steps * rows.rows() / total
            << ", \"parameters\": " << Model::parameter_count
            << ", \"peak_resident_bytes\": " << benchmark::peak_resident_bytes()
            << ", \"plan\": {\"weights\": " << plan.weights << ", \"gradients\": " << plan.gradients
            << ", \"optimizer\": " << plan.optimizer << ", \"activations\": " << plan.activations
            << ", \"workspace\": " << plan.workspace
            << "}, \"flops_per_token\": " << Model::flops_per_token(Shape::context) << "}\n";
}
