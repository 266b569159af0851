// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/core/error.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/io/directory.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/json.hpp>
#include <fathom/report/format.hpp>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// The grid's cells, and what became of them, in files: a cell that has its file is done.
namespace fathom::experiments {

/// The shortest text that reads back as the same number.
inline std::string exact(double number) {
  std::string text;
  format::append_exact(text, number);
  return text;
}

/// One training of the grid.
struct Cell {
  std::string task, method;
  int depth = 0;    ///< layers of each stack
  double rate = 0;  ///< the largest learning rate
  std::uint64_t seed = 1;
  bool ramp = false;  ///< the learning rate rises to its largest until the end

  /// What is in one table: reversal, learning rate 0.001.
  std::string grid() const { return task + (ramp ? ", learning rate rising to " : ", learning rate ") + exact(rate); }
  /// reversal-DeepNorm-18-0.001-1, with "ramp-" before the rate of a ramp.
  std::string name() const {
    return task + '-' + method + '-' + std::to_string(depth) + (ramp ? "-ramp-" : "-") + exact(rate) + '-' +
           std::to_string(seed);
  }
};

/// How the cells of a table are trained.
struct Recipe {
  std::string model;  ///< "64-128-2": width, feed-forward width, heads
  std::string texts;  ///< names of files, parted by spaces; empty: the task needs none
  std::int64_t steps = 0, warmup = 0, validations = 0;
  int translated = 0;  ///< sentences to validate on that are translated in the end

  /// What differs from another recipe: "--steps 300, not 600". Empty: nothing.
  std::string difference(const Recipe& other) const {
    const auto options = [](const Recipe& recipe) {
      return std::array<std::pair<const char*, std::string>, 6>{
          {{"--steps", std::to_string(recipe.steps)},
           {"--warmup", std::to_string(recipe.warmup)},
           {"--validations", std::to_string(recipe.validations)},
           {"--bleu", std::to_string(recipe.translated)},
           {"texts", recipe.texts.empty() ? "none" : recipe.texts},
           {"a model of", recipe.model}}};
    };
    const auto mine = options(*this), others = options(other);
    for (std::size_t i = 0; i < mine.size(); ++i)
      if (mine[i] != others[i]) return mine[i].first + (" " + mine[i].second) + ", not " + others[i].second;
    return {};
  }
};

/// What a validation found.
struct Point {
  std::int64_t step = 0;
  double training_loss = 0, validation_loss = 0;  ///< nats per token
  double accuracy = 0;                            ///< share of tokens that the model finds most probable
};

struct Result {
  Cell cell;
  Recipe recipe;
  std::vector<Point> curve;
  double unigram = 0;  ///< nats per token of the unigram model, `score::Unigram`, where the curve's losses are taken
  double seconds = 0;
  std::string machine = {};         ///< its processor, and threads
  std::optional<double> bleu = {};  ///< of translations of the text to validate on
  std::string gave_up = {};         ///< why training ended before its end; empty: it did not

  double loss() const { return curve.empty() ? std::nan("") : curve.back().validation_loss; }
  double accuracy() const { return curve.empty() ? 0 : curve.back().accuracy; }
  /// The first step at which the accuracy was that high; 0: it never was.
  std::int64_t reached(double accuracy) const {
    for (const Point& point : curve)
      if (point.accuracy >= accuracy) return point.step;
    return 0;
  }
};

inline std::filesystem::path path_of(const std::filesystem::path& folder, const Cell& cell) {
  return folder / "cells" / (cell.name() + ".json");
}

/// Whole or not at all. Errors: `FileError`.
inline void save(const std::filesystem::path& folder, const Result& result) {
  using Json = nlohmann::json;
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(); };
  Json curve = Json::array();
  for (const Point& point : result.curve)
    curve.push_back({point.step, number(point.training_loss), number(point.validation_loss), number(point.accuracy)});
  const Json json{{"task", result.cell.task},
                  {"method", result.cell.method},
                  {"depth", result.cell.depth},
                  {"rate", result.cell.rate},
                  {"seed", result.cell.seed},
                  {"ramp", result.cell.ramp},
                  {"model", result.recipe.model},
                  {"texts", result.recipe.texts},
                  {"steps", result.recipe.steps},
                  {"warmup", result.recipe.warmup},
                  {"validations", result.recipe.validations},
                  {"translated", result.recipe.translated},
                  {"unigram", result.unigram},
                  {"seconds", result.seconds},
                  {"machine", result.machine},
                  {"bleu", result.bleu ? number(*result.bleu) : Json()},
                  {"gave_up", result.gave_up},
                  {"curve", curve}};
  const std::filesystem::path path = path_of(folder, result.cell);
  std::filesystem::create_directories(path.parent_path());
  write_file(path, json.dump(1) + "\n");
}

/// Errors: `FileError`; `Error` that names the file, for one that holds no result.
inline Result load(const std::filesystem::path& path) {
  try {
    const MappedFile file(path);
    const std::span<const std::byte> bytes = file.bytes();
    const nlohmann::json json = fathom::detail::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    const auto number = [](const nlohmann::json& value) {
      return value.is_null() ? std::nan("") : value.get<double>();
    };
    const auto whole = [](const nlohmann::json& value, std::int64_t least) {
      if (!value.is_number_integer() || value.get<std::int64_t>() < least)
        throw Error("a count in it is " + value.dump());
      return value.get<std::int64_t>();
    };
    Result result{
        .cell = {json.at("task"), json.at("method"), int(whole(json.at("depth"), 1)), json.at("rate"),
                 std::uint64_t(whole(json.at("seed"), 0)), json.at("ramp")},
        .recipe = {json.at("model"), json.at("texts"), whole(json.at("steps"), 1), whole(json.at("warmup"), 0),
                   whole(json.at("validations"), 1), int(whole(json.at("translated"), 0))},
        .curve = {},
        .unigram = json.at("unigram"),
        .seconds = json.at("seconds"),
        .machine = json.at("machine"),
        .bleu = {},
        .gave_up = json.at("gave_up")};
    if (json.contains("bleu") && !json.at("bleu").is_null()) result.bleu = json.at("bleu").get<double>();
    for (const auto& point : json.at("curve"))
      result.curve.push_back({whole(point.at(0), 0), number(point.at(1)), number(point.at(2)), number(point.at(3))});
    return result;
  } catch (const nlohmann::json::exception&) {
    throw Error(path.string() + ": is not what fathom-depth writes; delete it, and the cell is trained again");
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {
    throw Error(path.string() + ": " + error.what() + "; delete it, and the cell is trained again");
  }
}

/// All results of a folder, by their names.
inline std::vector<Result> load_all(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  if (std::filesystem::exists(folder / "cells"))
    for (const std::filesystem::path& path : entries_of(folder / "cells"))
      if (path.extension() == ".json") paths.push_back(path);
  std::ranges::sort(paths);
  std::vector<Result> results;
  for (const auto& path : paths) results.push_back(load(path));
  return results;
}

}  // namespace fathom::experiments
