// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <programs/device.hpp>
#include <programs/recorded_options.hpp>
#include <programs/rules.hpp>
#include <string>

namespace fathom::program {

/// What the command lines of programs have in common: commands of which one is given, and a `train` whose options a run
/// keeps.
class CommandLine {
 public:
  CLI::App& app() { return app_; }
  /// The options of `train` that a run keeps.
  const RecordedOptions& recorded() const { return recorded_; }

 protected:
  /// `commands` are their names, for people.
  CommandLine(const std::string& description, const std::string& commands) : app_(description) {
    app_.option_defaults()->always_capture_default()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    app_.require_subcommand(0, 1);
    app_.callback([this, commands] {  // CLI11's own complaint does not name them
      if (app_.get_subcommands().empty()) throw CLI::RequiredError(commands);
    });
  }

  CLI::App* add(const char* name, const char* description) { return app_.add_subcommand(name, description); }

  /// The options of `train` that are added next stand under this heading.
  void group(const char* name) { train_->option_defaults()->group(name); }
  /// An option of `train` that decides the run's numbers, and one that a resumed run may change.
  CLI::Option* fixed(const char* name, auto& value, const char* description) {
    return recorded_.fixed(train_->add_option(name, value, description));
  }
  CLI::Option* free(const char* name, auto& value, const char* description) {
    return recorded_.free(train_->add_option(name, value, description));
  }

  /// Whether matrices learn at one rate.
  void add_matrix_rates(std::string& rates) {
    fixed("--matrix-rates", rates,
          "equal; or gain: each matrix learns at the learning rate times the gain that its residual policy starts it "
          "with")
        ->check(one_of({"equal", "gain"}));
  }

  /// What a run measures beside its losses.
  void add_telemetry(std::int64_t& every) {
    free("--telemetry", every,
         "updates from one measurement of what every layer does to the next, on a few sentences; 0: none")
        ->transform(whole(every, 0));
  }

  /// For all commands that have been added.
  void add_device(Device& device) {
    for (CLI::App* command : app_.get_subcommands([](CLI::App*) { return true; })) {
      command->add_option("--device", device.name, "cpu; or cuda, in a program that is made with it");
      command->add_option("--threads", device.threads, "0: one for each core that the process may use")
          ->transform(thread_count());
    }
  }

  /// What decides how much memory training needs, whatever the model.
  static void add_memory(CLI::App& info, double& dropout, double& average, double& gib) {
    info.add_option("--memory", gib, memory_text)->check(not_negative());
    info.add_option("--dropout", dropout, "rate on embeddings and residual branches")->check(rate());
    info.add_option("--average", average, "decay of an average of the weights; 0: none")->check(rate());
  }

  static constexpr const char* memory_text =
      "GiB that training may take: as many layers as that needs are computed again in backward, to the same bits; 0: "
      "any";

  CLI::App app_;
  CLI::App* train_ = nullptr;
  RecordedOptions recorded_;
};

}  // namespace fathom::program
