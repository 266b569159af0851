// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fathom/io/directory.hpp>
#include <fathom/report/log.hpp>
#include <fathom/report/progress.hpp>
#include <fathom/train/run.hpp>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace fathom::program {

/// What a program shows of a training run: a progress bar on stderr, and a row of a CSV file for each update.
class RunLog {
 public:
  using Value = std::optional<double>;

  /// Those of every run, and behind them `more` that a program has of its own.
  static std::vector<std::string> columns(const std::vector<std::string>& more = {}) {
    std::vector<std::string> all{"loss", "validation_loss", "learning_rate", "gradient_norm"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  /// `resumed_after`: the updates that were done before, by the run that this one resumes; the log keeps their rows.
  /// Errors: `FileError`, also for a log that is damaged.
  RunLog(const std::filesystem::path& csv, Progress::Options progress,
         std::optional<std::int64_t> resumed_after = std::nullopt, const std::vector<std::string>& more = {})
      : csv_(csv, columns(more), resumed_after), progress_(stderr, std::move(progress)) {
    if (resumed_after && csv_.last_step() < *resumed_after)
      progress_.message(csv.string() + ": the rows up to update " + std::to_string(*resumed_after) +
                        (csv_.last_step() > 0 ? " from " + std::to_string(csv_.last_step() + 1) + " on" : "") +
                        " are missing");
    if (const std::int64_t missing = std::max<std::int64_t>(0, csv_.last_step()) - csv_.kept_rows(); missing > 0)
      progress_.message(csv.string() + ": " + std::to_string(missing) + " rows before update " +
                        std::to_string(csv_.last_step()) + " are missing");
  }

  /// An update whose validation metric, if any, is a loss.
  void add(const RunReport& report) { add(report, report.metric, {}); }
  /// An update with that loss of its validation, and with the values of the program's own columns.
  void add(const RunReport& report, Value validation_loss, const std::vector<Value>& more) {
    if (!report.skipped.empty())
      progress_.message("update " + std::to_string(report.step) + " skipped: " + report.skipped);
    std::vector<Value> row{report.loss, validation_loss, report.learning_rate, report.gradient_norm};
    row.insert(row.end(), more.begin(), more.end());
    csv_.row(report.step, row);
    progress_.update({.step = report.step,
                      .tokens = report.tokens,
                      .loss = report.cross_entropy,  // what a validation loss is comparable with
                      .validation_loss = validation_loss,
                      .learning_rate = report.learning_rate});
  }
  /// How far the validation behind an update is.
  void validate(const Progress::ValidationUpdate& validation) { progress_.validate(validation); }
  /// A line of text above the progress bar.
  void message(std::string_view text) { progress_.message(text); }
  /// The last line of the progress bar.
  void finish() { progress_.finish(); }

 private:
  CsvLog csv_;
  Progress progress_;
};

/// Whether a folder was written by a program that trains: it holds a log as `RunLog` writes it, a model, what a
/// translator has prepared, or the cells of a grid.
inline bool is_of_a_run(const std::filesystem::path& folder) {
  std::string header = "step";
  for (const std::string& column : RunLog::columns()) header += ',' + column;
  std::error_code none;
  for (const std::filesystem::path& path : entries_of(folder, none)) {
    const bool is_file = std::filesystem::is_regular_file(path, none);
    const auto has = [&](const char* name) { return std::filesystem::is_regular_file(folder / name, none); };
    const std::filesystem::path name = path.filename();
    if (is_file && name == "model.safetensors") return true;
    if (is_file && name == "subwords.model" && (has("train.source") || has("train.1.source"))) return true;
    if (!is_file && name == "cells" && has("report.md")) return true;
    if (!is_file || path.extension() != ".csv") continue;
    std::string begin(header.size(), ' ');
    std::ifstream(path, std::ios::binary).read(begin.data(), static_cast<std::streamsize>(begin.size()));
    if (begin == header) return true;
  }
  return false;
}

}  // namespace fathom::program
