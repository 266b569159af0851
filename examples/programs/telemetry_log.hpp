// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/backends.hpp>
#include <fathom/core/error.hpp>
#include <fathom/report/heat_map.hpp>
#include <fathom/report/log.hpp>
#include <fathom/report/plot.hpp>
#include <fathom/train/telemetry.hpp>
#include <filesystem>
#include <optional>
#include <programs/run_program.hpp>
#include <string>
#include <utility>
#include <vector>

namespace fathom::program {

/// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// What `--telemetry` leaves in a run's folder, in telemetry/: for each quantity a table of layers over updates, and
/// its heat map; a table of how far the model moved, and its plot.
///
///   telemetry.before_update();
///   …                            // an update
///   telemetry.after_update();
template <class Trainer>
class TelemetryLog {
  using Batch = typename Trainer::Batch;

 public:
  /// Measures on `probe` every `every`-th update of the trainer. `resumed_after`: as of `RunLog`. Trainer and probe are
  /// viewed. Errors: `FileError`.
  TelemetryLog(Trainer& trainer, const Batch& probe, std::int64_t every, const std::filesystem::path& run,
               std::optional<std::int64_t> resumed_after)
      : trainer_(trainer), telemetry_(trainer, probe), every_(every), folder_(run / "telemetry") {
    std::filesystem::create_directory(folder_);
    for (const Quantity& quantity : quantities) {
      check_output_file(picture_of(quantity.name));
      logs_.emplace_back(table_of(quantity.name), telemetry_.layers(), resumed_after);
    }
    check_output_file(picture_of(model_update));
    std::vector<std::string> columns{"all"};
    for (const UpdateGroup group : update_groups) columns.emplace_back(name_of(group));
    logs_.emplace_back(table_of(model_update), columns, resumed_after);
  }

  /// Where the next update is measured, remembers what it begins with.
  void before_update() {
    if ((step() + 1) % every_ != 0) return;
    const Stopwatch watch;
    telemetry_.remember();
    seconds_ += watch.seconds();
  }

  /// Measures the last update, where it is one to measure and is not measured yet.
  void after_update() {
    if (step() % every_ != 0 || logs_.back().last_step() >= step()) return;
    const Stopwatch watch;
    const std::vector<LayerTelemetry> layers = telemetry_.measure();
    for (std::size_t i = 0; i < quantities.size(); ++i) {
      std::vector<std::optional<double>> row;
      for (const LayerTelemetry& layer : layers) row.emplace_back(layer.*quantities[i].value);
      logs_[i].row(step(), row);
    }
    const ModelUpdate update = telemetry_.model_update();
    std::vector<std::optional<double>> row{update.all};
    row.insert(row.end(), update.parts.begin(), update.parts.end());
    logs_.back().row(step(), row);
    seconds_ += watch.seconds();
  }

  /// Draws what the tables hold.
  void draw() {
    const Stopwatch watch;
    for (const Quantity& quantity : quantities)
      write_svg(HeatMap{.title = quantity.title,
                        .x_label = "update",
                        .y_label = "layer",
                        .values = read_csv(table_of(quantity.name))},
                picture_of(quantity.name));
    const CsvTable table = read_csv(table_of(model_update));
    Plot plot{.title = "how far an update moves the model, by the group of parameters that moves",
              .x_label = "update",
              .y_label = "L2 norm of a row's difference",
              .log_y = true};
    for (std::size_t i = 1; i < table.columns.size(); ++i)
      plot.lines.push_back({.series = table.series(table.columns[i])});
    write_svg(plot, picture_of(model_update));
    seconds_ += watch.seconds();
  }

  /// That all of it took.
  double seconds() const { return seconds_; }

 private:
  struct Quantity {
    const char *name, *title;
    double LayerTelemetry::* value;
  };
  static constexpr std::array quantities{
      Quantity{"activation", "Stream behind each layer, standard deviation", &LayerTelemetry::activation},
      Quantity{"norm_input", "What the norms of each layer read, standard deviation", &LayerTelemetry::norm_input},
      Quantity{"branch_share", "Branches of each layer, by what they are added to", &LayerTelemetry::branch_share},
      Quantity{"gradient", "Gradient of each layer, L2 norm", &LayerTelemetry::gradient},
      Quantity{"update", "Update of each layer's weights, by their norm", &LayerTelemetry::update}};
  static constexpr const char* model_update = "model_update";

  std::int64_t step() const { return trainer_.counters().step; }
  std::filesystem::path table_of(const char* name) const { return folder_ / (std::string(name) + ".csv"); }
  std::filesystem::path picture_of(const char* name) const { return folder_ / (std::string(name) + ".svg"); }

  Trainer& trainer_;
  Telemetry<Trainer> telemetry_;
  std::int64_t every_;
  std::filesystem::path folder_;
  std::vector<CsvLog> logs_;  // of the quantities, and of the model's update
  double seconds_ = 0;
};

}  // namespace fathom::program
