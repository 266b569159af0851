// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fathom/io/atomic_write.hpp>
#include <fathom/report/plot.hpp>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cell.hpp"
#include "verdict.hpp"

/// The grid as a report: for each grid a table of methods by depths, in the shape of DeepNet's Table
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
  std::vector<double> rates(double Tolerance::* rate) const {
    std::vector<double> rates;
    for (const Result* result : results) rates.push_back(tolerance_of(*result).*rate);
    return rates;
  }
  std::vector<double> largest_rates() const { return rates(&Tolerance::largest); }

  /// Losses of those that trained; and how the others ended.
  std::string loss_text() const {
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
  /// Updates to an accuracy of 0.99, where all seeds came so far; else the mean accuracy at the end.
  std::string accuracy_text() const {
    std::vector<double> steps, accuracies;
    for (const Result* result : results) {
      if (const auto step = result->reached(0.99); step > 0) steps.push_back(double(step));
      accuracies.push_back(result->accuracy());
    }
    if (steps.size() == results.size()) return with_spread(steps, 0);
    return "at " + with_spread(accuracies, 2);
  }
  /// Of those that translated.
  std::string bleu_text() const {
    std::vector<double> scores;
    for (const Result* result : results)
      if (result->bleu) scores.push_back(*result->bleu);
    return scores.empty() ? "" : with_spread(scores, 1);
  }
  std::string best_rate_text() const { return with_spread(rates(&Tolerance::best), 4); }
  std::string largest_rate_text() const {
    const bool more = std::ranges::any_of(results, [](const Result* result) { return tolerance_of(*result).more; });
    return with_spread(largest_rates(), 4) + (more ? " or more" : "");
  }
};

/// Cells that differ in method, depth and seed alone.
struct Grid {
  std::string name;
  Result first;  ///< of its cells: what they have in common
  std::map<std::string, std::map<int, Place>> rows;
  std::set<int> depths;
  std::set<std::uint64_t> seeds;
  double seconds = 0;

  void add(const Result& result) {
    rows[result.cell.method][result.cell.depth].results.push_back(&result);
    depths.insert(result.cell.depth);
    seeds.insert(result.cell.seed);
    seconds += result.seconds;
  }

  std::string table(const std::string& title, std::string (Place::*entry)() const) const {
    std::string text = "\n" + title + "\n\n| layers |";
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
    return text + "\n";
  }

  /// A line for each method over the depths at which all seeds have a value.
  Plot plot(const std::string& y_label, std::vector<double> (Place::*values)() const) const {
    Plot plot{.title = name, .x_label = "layers of each stack", .y_label = y_label};
    for (const auto& [method, row] : rows) {
      Series series{.name = method, .x = {}, .y = {}};
      for (const auto& [depth, place] : row) {
        const std::vector<double> found = (place.*values)();
        if (found.size() < place.results.size()) continue;
        series.x.push_back(depth);
        series.y.push_back(std::accumulate(found.begin(), found.end(), 0.0) / double(found.size()));
      }
      if (!series.x.empty()) plot.lines.push_back({.series = std::move(series)});
    }
    return plot;
  }

  /// What stands under its heading. `picture`: the name of its plot's file.
  std::string text(const std::string& picture) const {
    std::string text = std::to_string(first.steps) + " updates, warm-up " + std::to_string(first.warmup) + ", seeds " +
                       std::to_string(seeds.size()) + "; unigram loss " + number(first.unigram, 3) +
                       " nats per token; " + std::to_string(static_cast<long long>(seconds)) + " s of training.\n";
    if (first.cell.ramp) {
      text += table("The largest learning rate before it diverged; 0 for what never came below the unigram loss:",
                    &Place::largest_rate_text);
      text += table("The learning rate with the lowest validation loss:", &Place::best_rate_text);
    } else {
      text +=
          table("Validation loss, nats per token, the mean of the seeds and half of their range:", &Place::loss_text);
      if (first.cell.task == "reversal")
        text +=
            table("Updates until 99 % of tokens are right; or how many are right in the end:", &Place::accuracy_text);
      const auto translated = [](const auto& row) {
        return std::ranges::any_of(row.second, [](const auto& place) { return !place.second.bleu_text().empty(); });
      };
      if (std::ranges::any_of(rows, translated)) text += table("BLEU of the text to validate on:", &Place::bleu_text);
    }
    return text + "\n![" + name + "](" + picture + ")\n";
  }
};

}  // namespace detail

/// Every validation of every cell, a line each, for other tools.
inline std::string curves_csv(const std::vector<Result>& results) {
  std::ostringstream text;
  text << "task,method,layers,largest learning rate,ramp,seed,update,training loss,validation loss,accuracy\n";
  for (const Result& result : results)
    for (const Point& point : result.curve)
      text << result.cell.task << ',' << result.cell.method << ',' << result.cell.depth << ',' << result.cell.rate
           << ',' << result.cell.ramp << ',' << result.cell.seed << ',' << point.step << ',' << point.training_loss
           << ',' << point.validation_loss << ',' << point.accuracy << '\n';
  return text.str();
}

/// Writes `report.md`, its plots and `curves.csv` into the folder.
inline void write_report(const std::filesystem::path& folder, const std::vector<Result>& results,
                         const std::string& machine) {
  using detail::Place;
  std::map<std::string, detail::Grid> grids;
  for (const Result& result : results) {
    detail::Grid& grid = grids[result.cell.grid()];
    if (grid.name.empty()) grid = {.name = result.cell.grid(), .first = result, .rows = {}, .depths = {}, .seeds = {}};
    grid.add(result);
  }
  std::string text = "# Depths and methods\n\n" + machine + "\n";
  for (const auto& [name, grid] : grids) {
    std::string picture = name + ".svg";
    std::erase(picture, ',');
    std::ranges::replace(picture, ' ', '-');
    text += "\n## " + name + "\n\n" + grid.text(picture);
    if (grid.first.cell.ramp) {
      write_svg(grid.plot("learning rate", &Place::largest_rates), folder / picture);
    } else {
      Plot plot = grid.plot("nats per token", &Place::losses);
      plot.references.push_back({grid.first.unigram, "unigram"});
      write_svg(plot, folder / picture);
    }
  }
  text +=
      "\nA training counts as *not finite* when a loss is NaN or infinite; as *above unigram* when its last validation "
      "loss is not below the\nloss of who only knows how frequent each token is; as one that *stagnates* when it is "
      "within a twentieth of that and gained less than a\nhundredth of it in the second half. A ramp has diverged when "
      "a loss is NaN or infinite, or comes back to the unigram loss.\n";
  write_file(folder / "curves.csv", curves_csv(results));
  write_file(folder / "report.md", text);
}

}  // namespace fathom::experiments
