// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fathom/core/error.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/optim/parameter_rules.hpp>
#include <fathom/report/log.hpp>
#include <fathom/report/plot.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/initial_deviations.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/run.hpp>
#include <fathom/train/run_checkpoints.hpp>
#include <filesystem>
#include <functional>
#include <optional>
#include <programs/device.hpp>
#include <programs/run_log.hpp>
#include <programs/run_program.hpp>
#include <programs/stop_signal.hpp>
#include <programs/telemetry_log.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

/// Training as programs do it, whatever the model: in a folder that is locked, with checkpoints, a log, a progress bar
/// and a plot, until it is over or the program is asked to stop.
namespace fathom::program {

/// What a program decides about a training run, beside its trainer and its batches.
struct Training {
  RunOptions run;                    ///< its validation's metric is `validate`
  RunCheckpointOptions checkpoints;
  double validation_cost = 0;        ///< of one, in updates: a guess until one has been timed
  /// One validation, which shows in the log how far it is; nothing when it was stopped. Empty: there are none.
  std::function<std::optional<double>(RunLog&)> validate = {};
  std::vector<std::string> columns = {};  ///< of the log, behind those of every run
  /// Puts an update into the log. Empty: `RunLog::add(report)`.
  std::function<void(RunLog&, const RunReport&)> add = {};
  std::function<Plot(const CsvTable&)> plot;
  std::string metric = "loss";  ///< what is best, as "loss"
  std::string unit = "";        ///< behind the number, as "nats per byte"
  std::int64_t telemetry = 0;   ///< updates from one measurement of all layers to the next; 0: there is none
};

/// Makes the run, or the rest of one that is `resumed` from what `start` says, and leaves checkpoints, log.csv and
/// curves.svg in the folder, also when it is stopped and when the training gives up; layers are measured on `probe`. A
/// fresh run begins with a check of the initial weights, which it prints with telemetry. Returns the program's exit
/// code. Errors: of `checked_text`.
template <class Trainer, class Source>
int train(Trainer& trainer, Source& batches, const typename Trainer::Batch& probe, const DirectoryLock& folder,
          const StopSignal& stop, Training training, const CheckpointInfo& start, bool resumed) {
  const std::filesystem::path output = folder.path(), log_path = output / "log.csv";
  // The last update has no row when its validation is still to be made, or when it ended the run.
  const auto counters = trainer.counters();
  const bool has_row = !start.unvalidated && counters.skipped_in_a_row < trainer.options().patience;
  const std::int64_t logged = counters.step - (has_row ? 0 : 1);
  folder.check();
  check_output_file(output / "curves.svg");
  RunLog log(log_path,
             {.total = training.run.steps,
              .done = logged,
              .label = "train",
              .validate_every = training.validate ? training.run.validation.every : 0,
              .validation_cost = training.validation_cost},
             resumed ? std::optional(logged) : std::nullopt, training.columns);
  const int patience = training.run.validation.patience;
  if (!resumed) {
    const std::string deviations = checked_text(initial_deviations(trainer.table(), trainer.masters()));
    if (training.telemetry > 0) std::fputs(deviations.c_str(), stdout);
  }
  std::optional<TelemetryLog<Trainer>> telemetry;
  if (training.telemetry > 0)
    telemetry.emplace(trainer, probe, training.telemetry, output,
                      resumed ? std::optional(counters.step) : std::nullopt);
  double validating = 0;
  if (training.validate)
    training.run.validation.metric = [&] {
      if (telemetry) telemetry->after_update();  // the validation may be stopped, and made by a run that resumes this
      const Stopwatch watch;
      const std::optional<double> metric = training.validate(log);
      validating += watch.seconds();
      return metric;
    };
  TrainingRun run(trainer, batches, std::move(training.run), start.best, start.unvalidated);
  RunCheckpoints checkpoints(run, folder, std::move(training.checkpoints));
  const auto finish = [&] {
    log.finish();
    write_svg(training.plot(read_csv(log_path)), output / "curves.svg");
    if (telemetry) telemetry->draw();
  };
  const Stopwatch watch;
  try {
    if (telemetry && !start.unvalidated) telemetry->before_update();
    for (const RunReport& report : run) {
      if (stop) run.stop();
      training.add ? training.add(log, report) : log.add(report);
      if (telemetry) telemetry->after_update(), telemetry->before_update();
      checkpoints.save_if_due();
    }
  } catch (...) {
    if (run.report().step < run.step()) {  // of an update, not of what was done with it
      checkpoints.save_rest();
      finish();
    }
    throw;
  }
  if (run.unvalidated()) checkpoints.save_rest();
  const double training_seconds = watch.seconds() - validating - (telemetry ? telemetry->seconds() : 0);
  finish();
  if (stop)
    std::fprintf(stderr, "stopped after update %lld; go on with --resume\n", static_cast<long long>(run.step()));
  if (run.out_of_patience())
    std::printf("stopped at update %lld: the last %d validations were no better\n", static_cast<long long>(run.step()),
                patience);
  if (run.best().step > 0)
    std::printf("best validation %s %.4f%s%s, at update %lld\n", training.metric.c_str(), run.best().metric,
                training.unit.empty() ? "" : " ", training.unit.c_str(), static_cast<long long>(run.best().step));
  if (telemetry)
    std::printf("telemetry took %.2f s, %.2f %% of the %.1f s of training\n", telemetry->seconds(),
                100 * telemetry->seconds() / training_seconds, training_seconds);
  return stop ? stop.exit_code() : 0;
}

/// Whether learned scales of a stack start from a profiling pass.
template <class Stack>
constexpr bool is_profiled() {
  bool any = false;
  each_residual<Stack>([&](auto residual) { any |= decltype(residual)::type::ResidualPolicy::profiled; });
  return any;
}

/// The rules of `--matrix-rates`. Errors: `Error` for "gain" where that is the same as "equal".
template <class Model>
std::vector<ParameterRule> matrix_rates(const std::string& option) {
  if (option == "equal") return {};
  std::vector<ParameterRule> rules = rates_by_gain(describe<Model>());
  if (rules.empty())
    throw Error("--matrix-rates " + option +
                ": this model's residual policy starts all matrices with a gain of 1; leave it out");
  return rules;
}

/// What training takes of memory where it may take so many GiB; 0: any.
struct PlannedMemory {
  MemoryPlan plan;
  int recomputed = 0;  ///< `TrainerOptions::recomputed`
};

/// Of the CPU's memory, batches and a checkpoint's copy are a part. Errors: `Error` of `least_recomputed`.
template <class Model, class B, class Optimizer>
PlannedMemory plan_memory(const typename Model::Capacity& capacity, double gib, const Device& device,
                          const DropoutRates& dropout, bool average, std::int64_t batches) {
  const int threads = lanes<B>(device);
  const auto plan = [&](int recomputed) {
    return training_memory<Model, B, Optimizer>(recomputing(capacity, recomputed), threads, dropout, average);
  };
  if (gib == 0) return {plan(0), 0};
  const std::int64_t beside = device.name == "cpu" ? batches + plan(0).checkpoint_copy() : 0;
  const auto bytes = std::int64_t(gib * double(1_GiB)) - beside;
  if (const auto least = plan(every_block).total(); bytes < least) {
    std::ostringstream text;
    text << "--memory " << gib << ": training takes at least "
         << std::ceil(1000 * double(least + beside) / double(1_GiB)) / 1000
         << " GiB, with every layer computed again in backward; give that, or a smaller --batch";
    throw Error(text.str());
  }
  const int recomputed = least_recomputed<Model, B, Optimizer>(capacity, bytes, threads, dropout, average);
  return {plan(recomputed), recomputed};
}

/// Prints what training takes of memory; `batches` bytes are in batches.
inline void print_memory(const PlannedMemory& memory, std::int64_t batches) {
  const MemoryPlan& plan = memory.plan;
  const auto line = [](const char* name, std::int64_t bytes) {
    std::printf("  %-18s  %9.1f MiB\n", name, double(bytes) / double(1_MiB));
  };
  line("weights", plan.weights);
  if (plan.masters > 0) line("masters", plan.masters);
  line("gradients", plan.gradients);
  line("optimizer", plan.optimizer);
  line("average", plan.average);
  line("activations", plan.activations);
  line("workspace", plan.workspace);
  line("batches", batches);
  line("checkpoint's copy", plan.checkpoint_copy());
  line("total", plan.total() + batches + plan.checkpoint_copy());
  if (memory.recomputed > 0)
    std::printf("the first %d layers of each stack are computed again in backward\n", memory.recomputed);
}

/// Batches that a program holds at a time: the one in use and two that are prefetched, one to validate on, and copies of
/// those that make one update.
constexpr std::int64_t batches_in_memory(int accumulate) { return 3 + 1 + (accumulate > 1 ? accumulate : 0); }

}  // namespace fathom::program
