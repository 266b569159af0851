// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cmath>
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
  const std::set<double> rates(options.rates.begin(), options.rates.end());
  for (int seed = 1; seed <= options.seeds; ++seed)
    for (const int depth : depths)
      for (const double rate : rates)
        for (const Entry& entry : entries())
          if (entry.task == options.task && entry.depth == depth && wanted(options.methods, entry.method) &&
              wanted(options.depths, depth))
            cells.push_back({{entry.task, entry.method, depth, rate, std::uint64_t(seed), options.ramp}, &entry});
  return cells;
}

/// "AMD EPYC, threads: 1".
std::string machine(int threads) {
  std::string model = "an unknown processor";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  return model + ", threads: " + std::to_string(threads);
}

/// Trains the cells that have no result, `Options::jobs` at a time. A result is saved, and the report written, as soon
/// as it is there. The first job that fails ends the others.
class Grid {
 public:
  /// Errors: `Error` for cells that were not compiled, for results that cannot be read, and for those of other options
  /// in the same table; `FileError` of the folder.
  explicit Grid(const Options& options) : options_(options), cells_(chosen(options)), folder_(options.output) {
    // What is wrong is known before anything is trained.
    for (const Result& result : load_all(options.output)) check(result);
    const auto is_new = [&](const auto& cell) { return !std::filesystem::exists(path_of(options.output, cell.first)); };
    if (!trained_.empty() && std::ranges::any_of(cells_, is_new)) check_text();
    for (const char* file : {"report.md", "curves.csv"}) program::check_output_file(options.output / file);
    options_.stop = [this] { return stop_ || failed_; };
    if (options.threads == 0) options_.threads = std::max(1, available_threads() / options.jobs);
  }

  /// Returns the program's exit code. Errors: those of the first job that failed.
  int run() {
    {
      std::vector<Thread> others;
      try {
        while (std::ssize(others) + 1 < std::min<std::ptrdiff_t>(options_.jobs, std::ssize(cells_)))
          others.emplace_back([this] { work(); });
        work();
      } catch (...) {  // the system gives no more threads
        fail();
      }
    }
    if (failure_) std::rethrow_exception(failure_);
    if (!stopped_.empty()) {
      std::fprintf(stderr, "stopped; the same command begins again with %s\n", stopped_.c_str());
      return stop_.exit_code();
    }
    write_report(options_.output, load_all(options_.output));
    std::printf("%s\n", (options_.output / "report.md").c_str());
    return 0;
  }

 private:
  /// One job: cell by cell, until there is none left.
  void work() {
    try {
      for (auto number = next(); number; number = next()) {
        auto result = train(*number);
        const std::lock_guard lock(mutex_);
        if (result) {
          result->machine = machine(options_.threads);
          keep(*result);
        } else {
          stopped_ += (stopped_.empty() ? "" : ", ") + cells_[*number].first.name();
        }
      }
    } catch (...) {
      fail();
    }
  }
  void fail() {
    const std::lock_guard lock(mutex_);
    if (!failed_.exchange(true)) failure_ = std::current_exception();
  }

  /// Of the same table, all are trained alike. Errors: `Error` otherwise.
  void check(const Result& result) {
    const Cell& cell = cells_.front().first;
    if (result.cell.task != cell.task || result.cell.ramp != cell.ramp) return;
    const std::string path = path_of(options_.output, result.cell).string();
    const std::string difference = result.recipe.difference(cells_.front().second->recipe(options_, cell.ramp));
    if (!difference.empty())
      throw Error(path + ": was trained with " + difference + "; give the same, or name another folder by --output");
    trained_ = path;
    unigram_ = result.unigram;
  }
  /// Errors: `Error` where a text has changed since a cell of the same table was trained.
  void check_text() const {
    if (std::abs(cells_.front().second->unigram(options_) - unigram_) > 1e-6)
      throw Error(trained_ + ": was trained on another text of the same name; name another folder by --output");
  }

  /// The number of a cell that has no result and that no job has taken.
  std::optional<std::size_t> next() {
    const std::lock_guard lock(mutex_);
    while (next_ < cells_.size() && std::filesystem::exists(path_of(options_.output, cells_[next_].first))) ++next_;
    if (options_.stop() || next_ == cells_.size()) {
      if (stop_ && stopped_.empty() && next_ < cells_.size()) stopped_ = cells_[next_].first.name();
      return {};
    }
    folder_.check();
    return next_++;
  }

  std::optional<Result> train(std::size_t number) {
    const auto& [cell, entry] = cells_[number];
    const std::string label = std::to_string(number + 1) + "/" + std::to_string(cells_.size()) + " " + cell.name();
    std::optional<Progress> progress;
    const auto watch = [&](const StepReport& report, std::int64_t steps, const std::optional<double>& validation) {
      if (!progress) {  // its clock starts behind the first update, which it does not count
        Progress::Options shown{.total = steps, .label = label};
        if (options_.jobs > 1) shown.terminal = false;  // lines of several do not fall on each other
        progress.emplace(stderr, shown);
      } else {
        progress->update({.step = report.step,
                          .tokens = report.tokens,
                          .loss = report.loss,
                          .validation_loss = validation,
                          .learning_rate = report.learning_rate});
      }
      return !options_.stop();
    };
    return entry->run(cell, options_, watch);
  }

  void keep(const Result& result) {
    folder_.check();
    try {
      save(options_.output, result);
      write_report(options_.output, load_all(options_.output));
    } catch (const FileError&) {
      folder_.check();  // which may be why
      throw;
    }
    if (result.cell.ramp)
      std::printf("%-36s tolerates %.4g  best %.4g  %.0f s\n", result.cell.name().c_str(), tolerance_of(result).largest,
                  tolerance_of(result).best, result.seconds);
    else
      std::printf("%-36s %-14s loss %.4f  accuracy %.3f  %.0f s\n", result.cell.name().c_str(),
                  std::string(text_of(verdict_of(result))).c_str(), result.loss(), result.accuracy(), result.seconds);
    std::fflush(stdout);
  }

  Options options_;
  std::vector<std::pair<Cell, const Entry*>> cells_;
  DirectoryLock folder_;
  StopSignal stop_;
  std::mutex mutex_;  // of what follows, of the folder and of stdout
  std::size_t next_ = 0;
  std::string trained_;  // a cell of the same table that was there
  double unigram_ = 0;   // of its text
  std::string stopped_;  // cells that were
  std::exception_ptr failure_;
  std::atomic<bool> failed_ = false;
};

/// Errors: `Error` for an option of another task, or of none.
void check_options(const Options& options) {
  const auto only = [&](const char* task, bool given, const char* option) {
    if (given && options.task != task)
      throw Error(std::string(option) + ": belongs to the task " + task + ", and this one is " + options.task +
                  "; leave it out");
  };
  only("language", !options.text.empty(), "--text");
  only("translation", !options.pairs.empty(), "--pairs");
  only("translation", !options.validation.empty(), "--validation");
  only("translation", options.bleu > 0, "--bleu");
  only("translation", options.hold_out > 0, "--hold-out");
  for (const auto& [option, files] : {std::pair("--pairs", &options.pairs), {"--validation", &options.validation}})
    if (files->size() % 2 != 0)
      throw Error(std::string(option) + ": " + files->back() +
                  " has no file of translations behind it; give two files for each text");
  if (options.hold_out > 0 && !options.validation.empty())
    throw Error("--hold-out: there is a --validation; leave one of them out");
  if (options.ramp && options.warmup >= 0)
    throw Error("--warmup: the learning rate of a ramp rises to its end; leave it out");
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
    run->add_option("--seeds", options.seeds, "how many")->transform(program::whole(options.seeds, 1, 10000));
    run->add_flag("--ramp", options.ramp, "the learning rate rises to its largest until the end; ends what diverged");
    run->add_option("--text", options.text, "of the task language: a file, or a folder of them");
    run->add_option("--pairs", options.pairs, "of the task translation: two files, source and target, for each text");
    run->add_option("--validation", options.validation, "the same, to validate on");
    run->add_option("--hold-out", options.hold_out,
                    "pairs at the end of each text that validate where there is no --validation; 0: 500")
        ->transform(program::whole(options.hold_out, 0));
    run->add_option("--bleu", options.bleu, "sentences to validate on that are translated in the end")
        ->transform(program::whole(options.bleu, 0));
    run->add_option("--steps", options.steps, "updates; 0: the task's")->transform(program::whole(options.steps, 0));
    run->add_option("--warmup", options.warmup, "updates of rising learning rate; -1: the task's")
        ->transform(program::whole(options.warmup, -1));
    run->add_option("--validations", options.validations,
                    "of a training, evenly over its updates, at most one for each")
        ->transform(program::whole(options.validations, 1));
    run->add_option("--output", options.output, "folder of the results and the report")->check(program::some_text());
    run->add_option("--jobs", options.jobs, "cells that are trained at a time")
        ->transform(program::whole(options.jobs, 1));
    run->add_option("--threads", options.threads, "of a cell; 0: the cores that the process may use, dealt to the jobs")
        ->transform(program::thread_count());
    CLI::App* const list = app.add_subcommand("list", "Print what was compiled: task, method, depth.");
    return program::run_command(app, argc, argv, [&] {
      if (list->parsed()) return experiments::list();
      experiments::check_options(options);
      program::let_output_be_lost();
      return experiments::Grid(options).run();
    });
  });
}
