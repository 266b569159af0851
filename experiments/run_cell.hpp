// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/core/pair_batch.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/schedule.hpp>
#include <fathom/score/unigram.hpp>
#include <fathom/train/initial_deviations.hpp>
#include <fathom/train/trainer.hpp>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "cell.hpp"
#include "settings.hpp"
#include "verdict.hpp"

namespace fathom::experiments {

/// Who looks on while a cell is trained, after each update; false ends it there.
using Watch = std::function<bool(const StepReport&, std::int64_t steps, const std::optional<double>& validation_loss)>;

template <class Task>
Recipe recipe_of(const Settings& settings, bool ramp) {
  const std::int64_t steps = settings.steps > 0 ? settings.steps : Task::steps;
  const std::int64_t warmup = std::max<std::int64_t>(1, settings.warmup >= 0 ? settings.warmup : Task::warmup);
  return {.model = std::to_string(Task::width) + "-" + std::to_string(Task::hidden) + "-" + std::to_string(Task::heads),
          .texts = Task::texts(settings),
          .steps = steps,
          .warmup = ramp ? steps : warmup,
          .validations = std::min(settings.validations, steps),
          .translated = settings.bleu};
}

/// Nats per token of what validates, by the unigram model of what is learned from.
template <class Task>
double unigram_of(const Task& task) {
  const auto targets = [](const typename Task::Packed& packed) {
    if constexpr (std::is_convertible_v<typename Task::Packed, PairBatch>)
      return PairBatch(packed).target.targets;
    else
      return TokenBatch(packed).targets;
  };
  const score::Unigram model = task.frequencies();
  double sum = 0, count = 0;
  for (const auto& packed : task.validation())
    for (const int target : targets(packed))
      if (target >= 0) sum += model.loss(std::size_t(target)), ++count;
  return sum / count;
}

/// Trains one cell: Adam, linear warm-up, then by the inverse square root, or a ramp to the end; nothing is clipped,
/// and the first update that would be skipped ends it, so what diverges does. Nothing when it was stopped before its
/// end. Errors: of the task.
template <class Task, class Method, int Depth>
std::optional<Result> run_cell(const Cell& cell, const Settings& settings, const Watch& watch) {
  using Model = typename Task::template Model<Method, Depth>;
  const auto begin = std::chrono::steady_clock::now();
  Task task(settings, cell.seed);
  Result result{.cell = cell, .recipe = recipe_of<Task>(settings, cell.ramp), .curve = {}, .unigram = unigram_of(task)};
  const std::int64_t steps = result.recipe.steps;
  const typename Cpu<>::Options machine{.threads = settings.threads};
  TrainerOptions options{.seed = cell.seed, .loss = {.smoothing = Task::smoothing}, .clip_norm = 0, .spike_factor = 0};
  const std::vector<ParameterInfo> table = describe<Model>();
  if constexpr (requires { Method::rules(table); }) options.rules = Method::rules(table);
  Trainer<Model, Cpu<>, Adam> trainer(task.capacity(), options, {.beta2 = Task::beta2}, machine);
  const InverseSquareRoot schedule({.peak = cell.rate, .warmup_steps = result.recipe.warmup});
  typename Task::Packed batch(task.capacity());
  task.fill(0, batch);
  trainer.profile(batch);  // of methods that have something to profile
  checked_text(initial_deviations(table, trainer.masters()));
  const auto validations_until = [&](std::int64_t step) { return step * result.recipe.validations / steps; };
  for (std::int64_t step = 1; step <= steps; ++step) {
    task.fill(step, batch);
    const StepReport report = trainer.step(batch, schedule(step));
    result.gave_up = report.skipped;
    if (!report.skipped.empty()) break;
    std::optional<double> validation_loss;
    if (validations_until(step) > validations_until(step - 1)) {
      const Evaluation sums = trainer.evaluate(task.validation(), {.stop = settings.stop});
      if (sums.stopped) return {};
      validation_loss = sums.mean();
      result.curve.push_back({step, report.cross_entropy, sums.mean(),
                              double(sums.correct) / double(std::max<std::int64_t>(1, sums.targets))});
    }
    if (!watch(report, steps, validation_loss) && step < steps) return {};
    if (cell.ramp && ramp_is_over(result)) break;
  }
  if constexpr (requires { task.bleu(trainer.weights(), settings, machine); })
    if (result.recipe.translated > 0 && result.gave_up.empty()) {
      result.bleu = task.bleu(trainer.weights(), settings, machine);
      if (settings.stopped()) return {};
    }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

/// What was compiled: functions for each task, method and depth.
struct Entry {
  std::string task, method;
  int depth;
  Recipe (*recipe)(const Settings&, bool ramp);
  double (*unigram)(const Settings&);
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
  (entries().push_back({Task::name, Method::name, Layers, &recipe_of<Task>,
                        [](const Settings& settings) { return unigram_of(Task(settings, 1)); },
                        &run_cell<Task, Method, Layers>}),
   ...);
  return true;
}

}  // namespace fathom::experiments
