// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/train/average_checkpoints.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/run_checkpoints.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <programs/rules.hpp>
#include <string>

/// Runs that a program finds in folders: to go on with, and to use the model of.
namespace fathom::program {

/// The folder of a run, and which weights of it a command uses.
struct SavedRun {
  std::filesystem::path output, checkpoint;
  int last = 0;  ///< the mean of so many checkpoints; 0: one
};

/// The options of a command that uses a trained model.
inline void add_saved_run(CLI::App& command, SavedRun& run) {
  command.add_option("--output", run.output, "folder of the run");
  auto* const one = command.add_option("--checkpoint", run.checkpoint, "instead of the output folder's best, or newest");
  command
      .add_option("--last", run.last,
                  "the mean of the weights of the output folder's last so many checkpoints; 0: one checkpoint")
      ->transform(whole(run.last, 0))
      ->excludes(one);
}

/// The checkpoint whose weights are used, of several the newest. Errors: `Error` where there is none.
inline std::filesystem::path used_checkpoint(const SavedRun& run) {
  if (!run.checkpoint.empty()) return run.checkpoint;
  if (const auto best = run.last > 0 ? newest_checkpoint(run.output) : best_checkpoint(run.output)) return *best;
  throw Error(run.output.string() + ": has no checkpoint; give a run's folder with --output");
}

/// Errors: as of `used_checkpoint`, `load_checkpoint_weights` and `average_last_checkpoints`.
template <class Model, class B>
Weights<Model, B> used_weights(const SavedRun& run, const typename B::Options& machine) {
  if (run.last > 0) return average_last_checkpoints<Model, B>(run.output, run.last, machine);
  return load_checkpoint_weights<Model, B>(used_checkpoint(run));
}

/// The checkpoint that a run in the folder goes on from; none where it begins. Errors: `Error` for a folder that holds a
/// run which shall not be resumed.
inline std::optional<std::filesystem::path> checkpoint_to_resume(const DirectoryLock& folder, const SavedRun& run,
                                                                 bool resume) {
  const auto newest = newest_checkpoint(folder.path());
  if (newest && !resume)
    throw Error(run.output.string() + ": holds a run; go on with --resume, or give another --output");
  return newest;
}

/// A path for readers of checkpoints and plots. Bytes that are no UTF-8 are replaced: such a text has to be named
/// again to resume its run.
inline std::string as_utf8(const std::filesystem::path& path) {
  using Json = nlohmann::json;
  return Json::parse(Json(path.string()).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

}  // namespace fathom::program
