// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/telemetry.hpp>
#include <fathom/train/trainer.hpp>
#include <span>
#include <vector>

#include "machine.hpp"
#include "shape.hpp"

/// What telemetry costs, as programs have it: every so many updates all layers are measured on one sequence of the
/// batch.
///   telemetry_cost_<shape> --every N --rounds K --threads N
/// Updates and measurements take turns; the time of either is the median of K.
namespace fathom::bench {

int run(int argc, char** argv) {
  using Shape = Shape<FATHOM_SHAPE>;
  using Training = Trainer<Shape::Model, Cpu<FATHOM_PRECISION>, AdamW>;
  const int every = option(argc, argv, "--every", 100), rounds = option(argc, argv, "--rounds", 7);
  const RandomBatch<Shape> random;
  const TokenBatch batch = random;
  PackedRows one(batch.capacity());
  one.assign(std::vector{Shape::context});
  const TokenBatch probe{one.view(), batch.tokens.first(Shape::context), batch.targets.first(Shape::context)};

  Training trainer(batch.capacity(), {}, {.learning_rate = 1e-4}, {.threads = option(argc, argv, "--threads", 2)});
  Telemetry<Training> telemetry(trainer, probe);
  std::vector<double> steps, measurements;
  for (int round = -1; round < rounds; ++round) {  // one that nobody counts
    const double kept = seconds_of([&] { telemetry.remember(); });
    const double step = seconds_of([&] { trainer.step(batch); });
    const double measured = seconds_of([&] { telemetry.measure(), telemetry.model_update(); });
    if (round >= 0) steps.push_back(step), measurements.push_back(kept + measured);
  }
  const double step = median(steps), measurement = median(measurements);
  std::printf("%s: an update %.1f ms, a measurement of all layers %.1f ms: %.2f %% of %d updates\n",
              Shape::text().c_str(), 1e3 * step, 1e3 * measurement, 100 * measurement / (every * step), every);
  return 0;
}

}  // namespace fathom::bench

int main(int argc, char** argv) { return fathom::bench::run_main(argc, argv, fathom::bench::run); }
