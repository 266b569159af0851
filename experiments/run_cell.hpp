// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/train/initial_deviations.hpp>
#include <fathom/train/trainer.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cell.hpp"
#include "settings.hpp"
#include "verdict.hpp"

namespace fathom::experiments {

/// Who looks on while a cell is trained, after each update; false ends it there.
using Watch = std::function<bool(const StepReport&, std::int64_t steps, const std::optional<double>& validation_loss)>;

/// Trains one cell: Adam, linear warm-up, then by the inverse square root, or a ramp to the end; nothing is clipped or
/// skipped, so that what diverges does. Nothing when `watch` ends it. Errors: of the task.
template <class Task, class Method, int Depth>
std::optional<Result> run_cell(const Cell& cell, const Settings& settings, const Watch& watch) {
  using Model = typename Task::template Model<Method, Depth>;
  const auto begin = std::chrono::steady_clock::now();
  Task task(settings, cell.seed);
  Result result{.cell = cell,
                .curve = {},
                .steps = settings.steps > 0 ? settings.steps : Task::steps,
                .warmup = std::max<std::int64_t>(1, settings.warmup >= 0 ? settings.warmup : Task::warmup),
                .unigram = task.unigram()};
  if (cell.ramp) result.warmup = result.steps;
  const typename Cpu<>::Options machine{.threads = settings.threads};
  TrainerOptions options{
      .seed = cell.seed, .loss = {.smoothing = Task::smoothing}, .clip_norm = 0, .spike_factor = 0, .patience = 1};
  const std::vector<ParameterInfo> table = describe<Model>();
  if constexpr (requires { Method::rules(table); }) options.rules = Method::rules(table);
  Trainer<Model, Cpu<>, Adam> trainer(task.capacity(), options, {.beta2 = Task::beta2}, machine);
  const InverseSquareRoot schedule({.peak = cell.rate, .warmup_steps = result.warmup});
  typename Task::Packed batch(task.capacity());
  task.fill(0, batch);
  trainer.profile(batch);  // of methods that have something to profile
  checked_text(initial_deviations(table, trainer.masters()));
  const std::int64_t every = std::max<std::int64_t>(1, result.steps / std::max<std::int64_t>(1, settings.validations));
  try {
    for (std::int64_t step = 1; step <= result.steps; ++step) {
      task.fill(step, batch);
      const StepReport report = trainer.step(batch, schedule(step));
      std::optional<double> validation_loss;
      if (step % every == 0 || step == result.steps) {
        const Evaluation sums = trainer.evaluate(task.validation(), {.stop = settings.stop});
        if (sums.stopped) return {};
        validation_loss = sums.mean();
        result.curve.push_back({step, report.cross_entropy, sums.mean(),
                                double(sums.correct) / double(std::max<std::int64_t>(1, sums.targets))});
      }
      if (!watch(report, result.steps, validation_loss)) return {};
      if (cell.ramp && before_divergence(result).size() < result.curve.size()) break;
    }
    if constexpr (requires { task.bleu(trainer.weights(), settings, machine); })
      result.bleu = task.bleu(trainer.weights(), settings, machine);
    if (settings.stopped()) return {};
  } catch (const ShapeError&) {
    throw;
  } catch (const Error& error) {  // the trainer gave up
    result.gave_up = error.what();
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

/// What was compiled: a function for each task, method and depth.
struct Entry {
  std::string task, method;
  int depth;
  std::optional<Result> (*run)(const Cell&, const Settings&, const Watch&);
};
inline std::vector<Entry>& entries() {
  static std::vector<Entry> entries;
  return entries;
}
template <int... Layers>
struct Depths {};
template <class Task, class Method, int... Layers>
bool add_cells(Depths<Layers...>) {
  (entries().push_back({Task::name, Method::name, Layers, &run_cell<Task, Method, Layers>}), ...);
  return true;
}

}  // namespace fathom::experiments
