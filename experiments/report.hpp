// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fathom/io/atomic_write.hpp>
#include <fathom/report/plot.hpp>
#include <filesystem>
#include <map>
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

/// "1.234 ± 0.010, *stagnates* (1 of 3)": of the values that there are; and remarks, each with how many of `all` it is
/// about.
inline std::string summary(const std::vector<double>& values, int digits, const std::map<std::string, int>& remarks,
                           std::size_t all) {
  std::string text = values.empty() ? "" : with_spread(values, digits);
  for (const auto& [remark, count] : remarks) {
    text += (text.empty() ? "*" : ", *") + remark + "*";
    if (all > 1) text += " (" + std::to_string(count) + " of " + std::to_string(all) + ")";
  }
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
  /// Of ramps that learned.
  std::vector<double> rates(double Tolerance::* rate) const {
    std::vector<double> rates;
    for (const Result* result : results)
      if (const Tolerance found = tolerance_of(*result); found.largest > 0) rates.push_back(found.*rate);
    return rates;
  }

  /// How those ended that did not train.
  std::map<std::string, int> failures() const {
    std::map<std::string, int> failures;
    for (const Result* result : results)
      if (const Verdict verdict = verdict_of(*result); verdict != Verdict::trained)
        ++failures[std::string(text_of(verdict))];
    return failures;
  }

  /// Losses of those that trained; and how the others ended.
  std::string loss_text() const { return summary(losses(), 3, failures(), results.size()); }
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
  /// Of those that trained; and how the others ended.
  std::string bleu_text() const {
    std::vector<double> scores;
    for (const Result* result : results)
      if (result->bleu && verdict_of(*result) == Verdict::trained) scores.push_back(*result->bleu);
    return summary(scores, 1, failures(), results.size());
  }
  std::string best_rate_text() const { return summary(rates(&Tolerance::best), rate_digits(), {}, results.size()); }
  std::string largest_rate_text() const {
    std::map<std::string, int> remarks;
    for (const Result* result : results) {
      const Tolerance found = tolerance_of(*result);
      if (found.largest == 0) ++remarks["never below unigram"];
      if (found.more) ++remarks["not diverged"];
    }
    return summary(rates(&Tolerance::largest), rate_digits(), remarks, results.size());
  }
  /// What the picture of a ramp has; 0 for what never learned.
  double drawn_rate() const {
    double sum = 0;
    for (const Result* result : results) sum += tolerance_of(*result).largest;
    return sum / double(results.size());
  }
  /// What the picture has: what did not train is drawn at the unigram loss.
  double drawn_loss() const {
    double sum = 0;
    for (const Result* result : results)
      sum += verdict_of(*result) == Verdict::trained ? result->loss() : result->unigram;
    return sum / double(results.size());
  }

  /// One more than tell apart the rates of two validations of a ramp.
  int rate_digits() const {
    const Result& first = *results.front();
    return std::max(0, int(std::ceil(-std::log10(first.cell.rate / double(first.recipe.validations))))) + 1;
  }
};

/// Cells that differ in method, depth and seed alone.
struct Grid {
  std::string name;
  Result first;  ///< of its cells: what they have in common
  std::map<std::string, std::map<int, Place>> rows;
  std::set<int> depths;
  std::set<std::uint64_t> seeds;
  std::set<std::string> machines;
  double seconds = 0;

  void add(const Result& result) {
    rows[result.cell.method][result.cell.depth].results.push_back(&result);
    depths.insert(result.cell.depth);
    seeds.insert(result.cell.seed);
    machines.insert(result.machine);
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
        if (place != row.end()) {
          text += " " + (place->second.*entry)();
          const std::size_t there = place->second.results.size();
          if (there < seeds.size()) text += ", seeds: " + std::to_string(there);
        }
        text += " |";
      }
    }
    return text + "\n";
  }

  /// A line for each method over the depths.
  Plot plot(const std::string& y_label, double (Place::*value)() const) const {
    Plot plot{.title = name,
              .x_label = first.cell.task == "language" ? "layers" : "layers of each stack",
              .y_label = y_label};
    for (const auto& [method, row] : rows) {
      Series series{.name = method, .x = {}, .y = {}};
      for (const auto& [depth, place] : row) {
        series.x.push_back(depth);
        series.y.push_back((place.*value)());
      }
      plot.lines.push_back({.series = std::move(series)});
    }
    return plot;
  }

  /// What stands under its heading. `picture`: the name of its plot's file.
  std::string text(const std::string& picture) const {
    const Recipe& recipe = first.recipe;
    std::string text =
        recipe.model + " (width, feed-forward width, heads); " + std::to_string(recipe.steps) + " updates, warm-up " +
        std::to_string(recipe.warmup) + ", validations: " + std::to_string(recipe.validations) +
        ", seeds: " + std::to_string(seeds.size()) + "; " +
        (recipe.texts.empty() ? "" : "texts: " + recipe.texts + "; ") + "unigram loss " + number(first.unigram, 3) +
        " nats per token.\n" + std::to_string(static_cast<long long>(seconds)) + " s of training on";
    for (const std::string& machine : machines) text += (machine == *machines.begin() ? " " : "; ") + machine;
    text += seeds.size() < 3 ? ". Fewer than three seeds rank nothing.\n" : ".\n";
    if (first.cell.ramp) {
      text += table("The largest learning rate before it diverged:", &Place::largest_rate_text);
      text += table("The learning rate with the lowest validation loss:", &Place::best_rate_text);
    } else {
      text +=
          table("Validation loss, nats per token, the mean of the seeds and half of their range:", &Place::loss_text);
      if (first.cell.task == "reversal")
        text +=
            table("Updates until 99 % of tokens are right; or how many are right in the end:", &Place::accuracy_text);
      if (recipe.translated > 0)
        text += table("BLEU of " + std::to_string(recipe.translated) + " sentences to validate on:", &Place::bleu_text);
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
      text << result.cell.task << ',' << result.cell.method << ',' << result.cell.depth << ','
           << exact(result.cell.rate) << ',' << result.cell.ramp << ',' << result.cell.seed << ',' << point.step << ','
           << point.training_loss << ',' << point.validation_loss << ',' << point.accuracy << '\n';
  return text.str();
}

/// Writes `report.md`, its plots and `curves.csv` into the folder.
inline void write_report(const std::filesystem::path& folder, const std::vector<Result>& results) {
  using detail::Place;
  std::map<std::string, detail::Grid> grids;
  for (const Result& result : results) {
    detail::Grid& grid = grids[result.cell.grid()];
    if (grid.name.empty()) {
      grid.name = result.cell.grid();
      grid.first = result;
    }
    grid.add(result);
  }
  std::string text = "# Depths and methods\n";
  for (const auto& [name, grid] : grids) {
    std::string picture = name + ".svg";
    std::erase(picture, ',');
    std::ranges::replace(picture, ' ', '-');
    text += "\n## " + name + "\n\n" + grid.text(picture);
    if (grid.first.cell.ramp) {
      write_svg(grid.plot("learning rate", &Place::drawn_rate), folder / picture);
    } else {
      Plot plot = grid.plot("nats per token", &Place::drawn_loss);
      plot.references.push_back({grid.first.unigram, "unigram"});
      write_svg(plot, folder / picture);
    }
  }
  text += "\n" + rules_text();
  write_file(folder / "curves.csv", curves_csv(results));
  write_file(folder / "report.md", text);
}

}  // namespace fathom::experiments
