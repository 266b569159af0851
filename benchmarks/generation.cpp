// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/generate/generator.hpp>
#include <iostream>
#include <vector>

#include "shape.hpp"

/// Greedy generation with a key/value cache, from one token on. Prints one line of JSON for compare_pytorch.py:
///   generation_<name> --batch B --tokens K --threads N
int main(int argc, char** argv) {
  using namespace fathom;
  using Shape = bench::Shape<FATHOM_SHAPE>;
  using Model = Shape::Model;
  using B = Cpu<FATHOM_PRECISION>;
  if (argc == 2 && argv[1] == std::string_view("--shape")) {
    std::cout << Shape::text() << "\n";
    return 0;
  }
  const int batch = bench::option(argc, argv, "--batch", 1), tokens = bench::option(argc, argv, "--tokens", 100);
  const double seconds = bench::option(argc, argv, "--seconds", 3);
  const Weights<Model, B> weights(1);
  Generator<Model, B> generator(weights,
                                {.sequences = batch, .prompt = 1, .tokens = tokens, .sampling = {.temperature = 0}},
                                {.threads = bench::option(argc, argv, "--threads", 2)});

  const int first = 0;
  const std::vector<std::span<const int>> prompts(std::size_t(batch), std::span(&first, 1));
  const auto run = [&] {
    const auto begin = std::chrono::steady_clock::now();
    generator.start(prompts);
    while (generator.step()) {
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  run();  // warms up
  std::vector<double> runs;
  for (double sum = 0; sum < seconds || runs.size() < 3; sum += runs.back()) runs.push_back(run());
  std::ranges::nth_element(runs, runs.begin() + std::ptrdiff_t(runs.size() / 2));
  std::cout << "{\"tokens_per_second\": " << batch * tokens / runs[runs.size() / 2]
            << ", \"parameters\": " << Model::parameter_count
            << ", \"peak_resident_bytes\": " << bench::peak_resident_bytes() << "}\n";
}
