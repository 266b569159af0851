// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
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
///   training_step_<name> --turns --threads N      for each number on standard input, so many steps and one line
int main(int argc, char** argv) {
  using namespace fathom;
  using Shape = bench::Shape<FATHOM_SHAPE>;
  using Model = Shape::Model;
  using B = Cpu<FATHOM_PRECISION>;
  if (argc == 2 && argv[1] == std::string_view("--shape")) {
    std::cout << Shape::text() << "\n";
    return 0;
  }
  const int steps = bench::option(argc, argv, "--steps", 5), threads = bench::option(argc, argv, "--threads", 2);
  const bench::RandomBatch<Shape> batch;
  const Capacity capacity = batch.rows.capacity();
  Trainer<Model, B, AdamW> trainer(capacity, {}, {.learning_rate = 1e-4}, {.threads = threads});
  for (int warm_up = 0; warm_up < 2; ++warm_up) trainer.step(batch);

  const MemoryPlan plan = training_memory<Model, B, AdamW>(capacity, threads);
  const auto measure = [&](int count) {
    std::vector<double> seconds;
    for (int step = 0; step < count; ++step) seconds.push_back(bench::seconds_of([&] { trainer.step(batch); }));
    std::cout << "{\"seconds_per_step\": [";
    for (int step = 0; step < count; ++step) std::cout << (step == 0 ? "" : ", ") << seconds[step];
    std::cout << "], \"tokens_per_second\": " << batch.rows.rows() / bench::median(seconds)
              << ", \"parameters\": " << Model::parameter_count
              << ", \"peak_resident_bytes\": " << bench::peak_resident_bytes()
              << ", \"plan\": {\"weights\": " << plan.weights << ", \"masters\": " << plan.masters
              << ", \"gradients\": " << plan.gradients << ", \"optimizer\": " << plan.optimizer
              << ", \"activations\": " << plan.activations << ", \"workspace\": " << plan.workspace
              << "}, \"flops_per_token\": " << Model::flops_per_token(Shape::context) << "}" << std::endl;
  };
  if (std::find(argv, argv + argc, std::string_view("--turns")) == argv + argc) return measure(steps), 0;
  for (int count; std::cin >> count;) measure(count);
}
