// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/text/windows.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <span>
#include <vector>

#include "machine.hpp"
#include "shape.hpp"

/// What a run adds to its steps: batches that a thread prepares, and a checkpoint that another one writes meanwhile.
///   training_run_<name> --steps K --rounds R --threads N
/// K steps with a batch that is always the same, with batches of a text, and beside a checkpoint, R times in turn.
namespace {
using namespace fathom;

constexpr int default_interval = 1000;  // updates from one checkpoint of fathom-lm to the next
constexpr double milli = 1e-3;

/// The median of what rounds took longer than plain steps in the same round.
double extra(const std::vector<double>& seconds, const std::vector<double>& plain) {
  std::vector<double> more;
  for (std::size_t round = 0; round < plain.size(); ++round) more.push_back(seconds[round] - plain[round]);
  return bench::median(more);
}

int run(int argc, char** argv) {
  using Shape = bench::Shape<FATHOM_SHAPE>;
  const int steps = bench::option(argc, argv, "--steps", 50), rounds = bench::option(argc, argv, "--rounds", 5);
  const int threads = bench::option(argc, argv, "--threads", 2);

  std::vector<int> text(1 << 20);
  for (std::size_t i = 0; i < text.size(); ++i)
    text[i] = int(below(Shape::Model::vocabulary, low_bits(Philox(Key{2})(i))));
  const text::Windows windows(std::span<const int>(text), {.batch = Shape::batch, .length = Shape::context});
  text::Prefetch batches(windows);
  const bench::RandomBatch<Shape> same;
  using Run = Trainer<typename Shape::Model, Cpu<>, AdamW>;
  Run trainer(windows.capacity(), {}, {.learning_rate = 1e-4}, {.threads = threads});
  CheckpointWriter<Run> writer;
  const auto folder = std::filesystem::temp_directory_path() / "fathom-training-run";

  std::vector<double> plain, prepared, saved;
  double late = 0;
  const auto train = [&](auto&& batch) {
    for (int i = 0; i < steps; ++i) trainer.step(batch());
  };
  const auto fixed = [&]() -> TokenBatch { return same; };
  train(fixed);
  for (int round = 0; round < rounds; ++round) {
    plain.push_back(bench::seconds_of([&] { train(fixed); }));
    prepared.push_back(bench::seconds_of([&] { train([&]() -> TokenBatch { return batches.next(); }); }));
    saved.push_back(bench::seconds_of([&] {
      writer.start({folder}, trainer, {});
      train(fixed);
    }));
    late = std::max(late, bench::seconds_of([&] { writer.wait(); }));
  }
  std::filesystem::remove_all(folder);

  const auto report = [&](const char* what, const std::vector<double>& seconds) {
    std::printf("%-14s %9.3f %9.3f %+8.2f %%\n", what, bench::median(seconds) / steps / milli,
                extra(seconds, plain) / milli, 100 * extra(seconds, plain) / bench::median(plain));
  };
  std::printf("%s, %d steps\n%-14s %9s %9s %10s\n", Shape::text().c_str(), steps, "", "ms a step", "more, ms", "share");
  report("the same batch", plain);
  report("prepared", prepared);
  report("saved once", saved);
  std::printf("saved every %d steps: %+.3f %%; complete %.0f ms behind its %d steps at the latest\n", default_interval,
              100 * extra(saved, plain) * steps / (bench::median(plain) * default_interval), late / milli, steps);
  return 0;
}
}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "training_run: %s\n", error.what());
  return 1;
}
