// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fathom/io/atomic_write.hpp>
#include <fathom/report/plot.hpp>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cell.hpp"
#include "verdict.hpp"

/// The grid as a report: for each task and learning rate a table of methods by depths, in the shape of DeepNet's Table
/// 1, and a plot in that of its Figure 6.
namespace fathom::experiments {

namespace detail {

inline std::string number(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// "1.234 ± 0.010": the mean, and half of the range.
inline std::string with_spread(const std::vector<double>& values, int digits) {
  double sum = 0;
  for (const double value : values) sum += value;
  const auto [low, high] = std::ranges::minmax(values);
  std::string text = number(sum / double(values.size()), digits);
  if (values.size() > 1) text += " ± " + number((high - low) / 2, digits);
  return text;
}

/// The results of all seeds of one place in a table.
struct Place {
  std::vector<const Result*> results;

  std::vector<double> losses() const {
    std::vector<double> losses;
    for (const Result* result : results)
      if (verdict_of(*result) == Verdict::trained) losses.push_back(result->loss());
    return losses;
  }
  /// Losses of those that trained; and how the others ended.
  std::string text() const {
    std::map<Verdict, int> others;
    for (const Result* result : results)
      if (const Verdict verdict = verdict_of(*result); verdict != Verdict::trained) ++others[verdict];
    const std::vector<double> trained = losses();
    std::string text = trained.empty() ? "" : with_spread(trained, 3);
    for (const auto& [verdict, count] : others) {
      text += (text.empty() ? "*" : ", *") + std::string(text_of(verdict)) + "*";
      if (results.size() > 1) text += " (" + std::to_string(count) + " of " + std::to_string(results.size()) + ")";
    }
    return text;
  }
  /// Steps to an accuracy of 0.99, where all seeds came so far; else the mean accuracy at the end.
  std::string accuracy_text() const {
    std::vector<double> steps, accuracies;
    for (const Result* result : results) {
      if (const auto step = result->reached(0.99); step > 0) steps.push_back(double(step));
      accuracies.push_back(result->accuracy());
    }
    if (steps.size() == results.size()) return with_spread(steps, 0);
    return "at " + with_spread(accuracies, 2);
  }
};

}  // namespace detail

/// Writes `report.md` and the plots into the folder.
inline void write_report(const std::filesystem::path& folder, const std::vector<Result>& results,
                         const std::string& machine) {
  using detail::Place;
  std::map<std::pair<std::string, double>, std::vector<const Result*>> grids;  // by task and rate
  for (const Result& result : results) grids[{result.cell.task, result.cell.rate}].push_back(&result);
  std::string text = "# Depths and methods\n\n" + machine + "\n";
  for (const auto& [of, cells] : grids) {
    const auto& [task, rate] = of;
    std::map<std::string, std::map<int, Place>> rows;
    std::set<int> depths;
    std::set<std::uint64_t> seeds;
    double seconds = 0;
    for (const Result* cell : cells) {
      rows[cell->cell.method][cell->cell.depth].results.push_back(cell);
      depths.insert(cell->cell.depth);
      seeds.insert(cell->cell.seed);
      seconds += cell->seconds;
    }
    char rate_text[32];
    std::snprintf(rate_text, sizeof rate_text, "%g", rate);
    const Result& first = *cells.front();
    text += "\n## " + task + ", learning rate " + rate_text + "\n\n" + std::to_string(first.steps) +
            " updates, warm-up " + std::to_string(first.warmup) + ", seeds " + std::to_string(seeds.size()) +
            "; unigram loss " + detail::number(first.unigram, 3) + " nats per token; " +
            std::to_string(static_cast<long long>(seconds)) + " s of training.\n";
    const auto table = [&](const std::string& title, std::string (Place::*entry)() const) {
      text += "\n" + title + "\n\n| layers |";
      for (const int depth : depths) text += " " + std::to_string(depth) + " |";
      text += "\n| --- |";
      for (std::size_t i = 0; i < depths.size(); ++i) text += " --- |";
      for (const auto& [method, row] : rows) {
        text += "\n| " + method + " |";
        for (const int depth : depths) {
          const auto place = row.find(depth);
          text += " " + (place == row.end() ? "" : (place->second.*entry)()) + " |";
        }
      }
      text += "\n";
    };
    table("Validation loss, nats per token, the mean of the seeds and half of their range:", &Place::text);
    if (task == "reversal")
      table("Updates until 99 % of tokens are right; or how many are right in the end:", &Place::accuracy_text);

    Plot plot{
        .title = task + ", learning rate " + rate_text, .x_label = "layers of each stack", .y_label = "nats per token"};
    for (const auto& [method, row] : rows) {
      Series series{.name = method, .x = {}, .y = {}};
      for (const auto& [depth, place] : row) {
        const std::vector<double> losses = place.losses();
        if (losses.size() < place.results.size()) continue;  // a method that fails has no loss there
        double sum = 0;
        for (const double loss : losses) sum += loss;
        series.x.push_back(depth), series.y.push_back(sum / double(losses.size()));
      }
      if (!series.x.empty()) plot.lines.push_back({.series = std::move(series)});
    }
    plot.references.push_back({first.unigram, "unigram"});
    const std::string file = task + "-" + rate_text + ".svg";
    write_svg(plot, folder / file);
    text += "\n![" + task + "](" + file + ")\n";
  }
  text +=
      "\nA training counts as *not finite* when a loss is NaN or infinite; as *above unigram* when its last validation "
      "loss "
      "is not below the\nloss of who only knows how frequent each token is; as one that *stagnates* when it is within "
      "a "
      "twentieth of that and gained less than a\nhundredth of it in the second half.\n";
  write_file(folder / "report.md", text);
}

}  // namespace fathom::experiments
