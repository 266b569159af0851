// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <fathom/core/thread.hpp>
#include <fathom/core/threads.hpp>
#include <fathom/report/progress.hpp>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <programs/rules.hpp>
#include <programs/run_program.hpp>
#include <programs/stop_signal.hpp>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "report.hpp"
#include "run_cell.hpp"

/// A grid of methods, depths, learning rates and seeds, trained cell by cell. A cell that has its file is not trained
/// again, so a grid that was stopped goes on where it was.
namespace fathom::experiments {

struct Options : Settings {
  std::string task = "reversal";
  std::vector<std::string> methods;
  std::vector<int> depths;
  std::vector<double> rates{1e-3};
  int seeds = 3;
  bool ramp = false;
  int jobs = 1;  ///< cells that are trained at a time
};

/// The cells that were asked for, of those that were compiled. Errors: `Error` for a task, method or depth that was
/// not.
std::vector<std::pair<Cell, const Entry*>> chosen(const Options& options) {
  std::set<std::string> methods, tasks;
  std::set<int> depths;
  for (const Entry& entry : entries()) {
    tasks.insert(entry.task);
    if (entry.task == options.task) methods.insert(entry.method), depths.insert(entry.depth);
  }
  const auto check = [](const auto& known, const auto& asked, const char* what) {
    if (known.contains(asked)) return;
    std::ostringstream text;
    text << what << ' ' << asked << " was not compiled; there are";
    for (const auto& one : known) text << ' ' << one;
    text << "; experiments/CMakeLists.txt says how to have more";
    throw Error(text.str());
  };
  check(tasks, options.task, "the task");
  for (const std::string& method : options.methods) check(methods, method, "the method");
  for (const int depth : options.depths) check(depths, depth, "the depth");
  const auto wanted = [](const auto& list, const auto& one) {
    return list.empty() || std::ranges::find(list, one) != list.end();
  };
  std::vector<std::pair<Cell, const Entry*>> cells;
  for (int seed = 1; seed <= options.seeds; ++seed)
    for (const int depth : depths)
      for (const double rate : options.rates)
        for (const Entry& entry : entries())
          if (entry.task == options.task && entry.depth == depth && wanted(options.methods, entry.method) &&
              wanted(options.depths, depth))
            cells.push_back({{entry.task, entry.method, depth, rate, std::uint64_t(seed), options.ramp}, &entry});
  return cells;
}

std::string machine() {
  std::string model = "an unknown processor";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  return model + ", " + std::to_string(available_threads()) + " threads.";
}

int run(Options options) {
  program::let_output_be_lost();
  const auto cells = chosen(options);
  const DirectoryLock folder(options.output);
  load_all(options.output);  // what cannot be read is known before anything is trained
  const StopSignal stop;
  std::mutex mutex;  // of what jobs share: the next cell, the folder, stdout, and why they end
  std::size_t next = 0;
  std::string stopped;
  std::exception_ptr failure;
  std::atomic<bool> failed = false;
  options.stop = [&] { return stop || failed; };
  if (options.threads == 0) options.threads = std::max(1, available_threads() / options.jobs);

  const auto next_cell = [&]() -> std::optional<std::size_t> {
    const std::lock_guard lock(mutex);
    while (next < cells.size() && std::filesystem::exists(path_of(options.output, cells[next].first))) ++next;
    if (failed || next == cells.size()) return {};
    folder.check();
    return next++;
  };
  const auto train = [&](std::size_t number) {  // false: it was stopped
    const auto& [cell, entry] = cells[number];
    const std::string label = std::to_string(number + 1) + "/" + std::to_string(cells.size()) + " " + cell.name();
    std::optional<Progress> progress;
    const auto watch = [&](const StepReport& report, std::int64_t steps, const std::optional<double>& validation) {
      if (!progress) {  // its clock starts behind the first update, which it does not count
        Progress::Options shown{.total = steps, .label = label};
        if (options.jobs > 1) shown.terminal = false;  // lines of several do not fall on each other
        progress.emplace(stderr, shown);
      } else {
        progress->update({.step = report.step,
                          .tokens = report.tokens,
                          .loss = report.loss,
                          .validation_loss = validation,
                          .learning_rate = report.learning_rate});
      }
      return !options.stop();
    };
    const auto result = entry->run(cell, options, watch);
    if (progress) progress->finish();
    const std::lock_guard lock(mutex);
    if (!result) {
      stopped = cell.name();
      return false;
    }
    folder.check();
    try {
      save(options.output, *result);
      write_report(options.output, load_all(options.output), machine());
    } catch (const FileError&) {
      folder.check();  // which may be why
      throw;
    }
    std::printf("%-36s %-14s loss %.4f  accuracy %.3f  %.0f s\n", cell.name().c_str(),
                std::string(text_of(verdict_of(*result))).c_str(), result->loss(), result->accuracy(), result->seconds);
    std::fflush(stdout);
    return true;
  };
  const auto job = [&] {
    try {
      for (auto number = next_cell(); number && train(*number);) number = next_cell();
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  };
  {
    std::vector<Thread> others;
    while (std::ssize(others) + 1 < options.jobs) others.emplace_back(job);
    job();
  }
  if (failure) std::rethrow_exception(failure);
  if (!stopped.empty()) {
    std::fprintf(stderr, "stopped; the same command goes on with %s\n", stopped.c_str());
    return stop.exit_code();
  }
  write_report(options.output, load_all(options.output), machine());
  std::printf("%s\n", (options.output / "report.md").c_str());
  return 0;
}

int list() {
  for (const Entry& entry : entries()) std::printf("%s %s %d\n", entry.task.c_str(), entry.method.c_str(), entry.depth);
  return 0;
}

}  // namespace fathom::experiments

int main(int argc, char** argv) {
  using namespace fathom;
  return program::run_program([&] {
    experiments::Options options;
    CLI::App app("Trains a grid of residual methods, depths, learning rates and seeds, and reports on it.");
    app.option_defaults()->always_capture_default();
    app.require_subcommand(1);
    CLI::App* const run = app.add_subcommand("run", "Train the cells that have no result yet.");
    run->add_option("--task", options.task, "reversal, language or translation");
    run->add_option("--methods", options.methods, "names, parted by commas; all unless given")->delimiter(',');
    run->add_option("--depths", options.depths, "layers of each stack, parted by commas; all unless given")
        ->delimiter(',')
        ->transform(program::whole(int{}, 1));
    run->add_option("--rates", options.rates, "largest learning rates, parted by commas")
        ->delimiter(',')
        ->check(program::number("above 0 and at most 1e6", [](double x) { return x > 0 && x <= 1e6; }));
    run->add_option("--seeds", options.seeds, "how many")->transform(program::whole(options.seeds, 1));
    run->add_flag("--ramp", options.ramp, "the learning rate rises to its largest until the end; ends what diverged");
    run->add_option("--text", options.text, "of the task language: a file, or a folder of them");
    run->add_option("--pairs", options.pairs, "of the task translation: two files, source and target, for each text");
    run->add_option("--validation-pairs", options.validation_pairs,
                    "the same; otherwise the last 500 pairs of each text");
    run->add_option("--bleu", options.bleu, "sentences to validate on that are translated in the end")
        ->transform(program::whole(options.bleu, 0));
    run->add_option("--steps", options.steps, "updates; 0: the task's")->transform(program::whole(options.steps, 0));
    run->add_option("--warmup", options.warmup, "updates of rising learning rate; -1: the task's")
        ->transform(program::whole(options.warmup, -1));
    run->add_option("--validations", options.validations, "spread evenly over the updates")
        ->transform(program::whole(options.validations, 1));
    run->add_option("--output", options.output, "folder of the results and the report");
    run->add_option("--jobs", options.jobs,
                    "cells that are trained at a time; as many as there are cores is the quickest")
        ->transform(program::whole(options.jobs, 1));
    run->add_option("--threads", options.threads, "of a cell; 0: the cores that the process may use, dealt to the jobs")
        ->transform(program::thread_count());
    CLI::App* const list = app.add_subcommand("list", "Print what was compiled: task, method, depth.");
    return program::run_command(app, argc, argv,
                                [&] { return list->parsed() ? experiments::list() : experiments::run(options); });
  });
}
