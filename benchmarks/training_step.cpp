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
#if defined(FATHOM_ON_CUDA)
#include <fathom/backend/cuda/cuda.hpp>
#endif

/// Training steps on random tokens. Prints one line of JSON for compare_pytorch.py; tokens/s are those of the median
/// step:
///   training_step_<name> --steps K --threads N
///   training_step_<name> --turns --threads N      for each number on standard input, so many steps and one line
/// cuda_training_step_<name> does it on a GPU.
namespace fathom::bench {

#if defined(FATHOM_ON_CUDA)
using B = Cuda<FATHOM_PRECISION>;
#else
using B = Cpu<FATHOM_PRECISION>;
#endif

template <class Options>
Options machine_with(int threads) {
  Options machine{};
  if constexpr (requires { machine.threads; }) machine.threads = threads;
  if constexpr (requires { machine.timed; }) machine.timed = true;
  return machine;
}

int run(int argc, char** argv) {
  using Shape = Shape<FATHOM_SHAPE>;
  using Model = Shape::Model;
  if (argc == 2 && argv[1] == std::string_view("--shape")) {
    std::cout << Shape::text() << "\n";
    return 0;
  }
  const int steps = option(argc, argv, "--steps", 5), threads = option(argc, argv, "--threads", 2);
  const RandomBatch<Shape> batch;
  const Capacity capacity = batch.rows.capacity();
  Trainer<Model, B, AdamW> trainer(capacity, {}, {.learning_rate = 1e-4}, machine_with<B::Options>(threads));
  for (int warm_up = 0; warm_up < 2; ++warm_up) trainer.step(batch);

  const MemoryPlan plan = training_memory<Model, B, AdamW>(capacity, trainer.context().lanes());
  const auto measure = [&](int count) {
    std::vector<double> seconds;
    for (int step = 0; step < count; ++step) seconds.push_back(seconds_of([&] { trainer.step(batch); }));
    std::cout << "{\"seconds_per_step\": [";
    for (int step = 0; step < count; ++step) std::cout << (step == 0 ? "" : ", ") << seconds[step];
    std::cout << "], \"tokens_per_second\": " << batch.rows.rows() / median(seconds)
              << ", \"parameters\": " << Model::parameter_count
              << ", \"peak_resident_bytes\": " << peak_resident_bytes() << ", \"plan\": {\"weights\": " << plan.weights
              << ", \"masters\": " << plan.masters << ", \"gradients\": " << plan.gradients
              << ", \"optimizer\": " << plan.optimizer << ", \"activations\": " << plan.activations
              << ", \"workspace\": " << plan.workspace
              << "}, \"flops_per_token\": " << Model::flops_per_token(Shape::context) << "}" << std::endl;
  };
  if (std::find(argv, argv + argc, std::string_view("--turns")) == argv + argc) return measure(steps), 0;
  for (int count; std::cin >> count;) measure(count);
  return 0;
}

}  // namespace fathom::bench

int main(int argc, char** argv) { return fathom::bench::run_main(argc, argv, fathom::bench::run); }
