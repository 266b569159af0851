// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <iostream>
#include <string_view>
#include <vector>

#include "machine.hpp"
#include "shape.hpp"

/// Training steps on random tokens. Prints one line of JSON for compare_pytorch.py; tokens/s are those of the median
/// step:
///   training_step_<name> --steps K --threads N
int main(int argc, char** argv) {
  using namespace fathom;
  using Shape = bench::Shape<FATHOM_SHAPE>;
  using Model = Shape::Model;
  if (argc == 2 && argv[1] == std::string_view("--shape")) {
    std::cout << Shape::text() << "\n";
    return 0;
  }
  const int steps = bench::option(argc, argv, "--steps", 5), threads = bench::option(argc, argv, "--threads", 2);
  const bench::RandomBatch<Shape> batch;
  const Capacity capacity = batch.rows.capacity();
  Trainer<Model, Cpu<>, AdamW> trainer(capacity, {}, {.learning_rate = 1e-4}, {.threads = threads});
  for (int warm_up = 0; warm_up < 2; ++warm_up) trainer.step(batch);

  std::vector<double> seconds;
  for (int step = 0; step < steps; ++step) seconds.push_back(bench::seconds_of([&] { trainer.step(batch); }));
  std::cout << "{\"seconds_per_step\": [";
  for (int step = 0; step < steps; ++step) std::cout << (step == 0 ? "" : ", ") << seconds[step];
  const MemoryPlan plan = training_memory<Model, Cpu<>, AdamW>(capacity, threads);
  std::cout << "], \"tokens_per_second\": " << batch.rows.rows() / bench::median(seconds)
            << ", \"parameters\": " << Model::parameter_count
            << ", \"peak_resident_bytes\": " << bench::peak_resident_bytes()
            << ", \"plan\": {\"weights\": " << plan.weights << ", \"gradients\": " << plan.gradients
            << ", \"optimizer\": " << plan.optimizer << ", \"activations\": " << plan.activations
            << ", \"workspace\": " << plan.workspace
            << "}, \"flops_per_token\": " << Model::flops_per_token(Shape::context) << "}\n";
}
