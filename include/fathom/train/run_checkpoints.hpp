// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/train/atomic_write.hpp>
#include <fathom/train/checkpoint.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

/// The checkpoints of a run, in its folder:
///
///   checkpoints/00001200/   the last ones, by the updates behind them; a run resumes from the newest
///   best/                   the one of the best validation
namespace fathom::inline FATHOM_ABI {

namespace detail {

inline std::filesystem::path checkpoint_path(const std::filesystem::path& folder, std::int64_t step) {
  const std::string digits = std::to_string(step);
  return folder / "checkpoints" / (std::string(8 - std::min<std::size_t>(8, digits.size()), '0') + digits);
}

/// Entries of `folder`/checkpoints whose names are digits, or digits and `suffix` with anything behind it; as numbers
/// they rise.
inline std::vector<std::filesystem::path> checkpoint_entries(const std::filesystem::path& folder,
                                                             std::string_view suffix = {}) {
  std::vector<std::filesystem::path> entries;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "checkpoints", none)) {
    const std::string name = entry.path().filename().string();
    const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    const std::string_view rest = std::string_view(name).substr(digits);
    if (digits > 0 && (suffix.empty() ? rest.empty() : rest.starts_with(suffix))) entries.push_back(entry.path());
  }
  std::ranges::sort(entries, {}, [](const std::filesystem::path& path) {
    const std::string name = path.filename().string();
    return std::pair(name.size(), name);
  });
  return entries;
}

inline std::optional<std::filesystem::path> best_of(const std::filesystem::path& folder) {
  std::error_code ignored;
  const std::filesystem::path best = folder / "best";
  for (const auto& path : {best, old_name(best)})
    if (std::filesystem::is_directory(path, ignored)) return path;
  return std::nullopt;
}

}  // namespace detail

/// The checkpoint that a run in `folder` resumes from: the newest one, or the best one where there is no other yet;
/// nothing when there is neither.
inline std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder) {
  const auto entries = detail::checkpoint_entries(folder);
  return entries.empty() ? detail::best_of(folder) : entries.back();
}

/// The checkpoint to use a run's model from: the best one, or the newest of a run that was not validated; nothing when
/// there is neither.
inline std::optional<std::filesystem::path> best_checkpoint(const std::filesystem::path& folder) {
  const auto best = detail::best_of(folder);
  return best ? best : newest_checkpoint(folder);
}

/// When a run is saved, and what stays.
struct RunCheckpointOptions {
  std::int64_t every = 1000;            ///< updates; there is a checkpoint behind the last update too
  int keep = 2;                         ///< the last so many stay
  safetensors::Metadata metadata = {};  ///< the program's own texts, in each of them
};

/// Saves what a run goes on from, in the body of its loop behind everything that a resumed run shall not do again:
///
///   RunCheckpoints checkpoints(run, folder, {.every = 500});
///   for (const RunReport& report : run) {
///     log.row(…);
///     checkpoints.save_if_due();
///   }
///
/// The state is copied and written by a thread of its own while training goes on (see `CheckpointWriter`); behind the
/// last update everything is on disk. The run is viewed.
template <class Run>
class RunCheckpoints {
 public:
  /// Removes what killed runs left half done. Errors: `Error` unless `every` and `keep` are positive,
  /// and for what a checkpoint cannot hold, such as metadata that are not UTF-8.
  RunCheckpoints(const Run& run, std::filesystem::path folder, RunCheckpointOptions options)
      : run_(run), folder_(std::move(folder)), options_(std::move(options)), saved_updates_(updates()) {
    if (options_.every < 1 || options_.keep < 1) throw Error("RunCheckpoints: every and keep must be at least 1");
    TrainingState<typename Run::Trainer>(run_.trainer(), info());  // what it cannot hold is refused now
    remove_old();
  }

  /// Saves the best checkpoint if the update at hand is the best, and then one to resume from if that is due. Those
  /// that are too old go when the new one is complete. Errors, also of the checkpoint before: `FileError`, and every
  /// earlier checkpoint is still there.
  void save_if_due() {
    writer_.check();
    const bool is_last = run_.report().is_last, to_resume = is_last || run_.step() % options_.every == 0;
    if (run_.report().is_best || to_resume) save(run_.report().is_best, to_resume);
    if (is_last) writer_.wait();
  }

  /// When the loop has ended without the report of the last update, by its exception or as its validation was stopped:
  /// saves what to resume from, unless no weight has changed since that was done. Errors: `FileError`, and every
  /// earlier checkpoint is still there.
  void save_rest() {
    if (updates() > saved_updates_) save(false, true);
    writer_.wait();
  }

 private:
  void save(bool best, bool to_resume) {
    std::vector<std::filesystem::path> directories;
    if (best) directories.push_back(folder_ / "best");
    if (to_resume) directories.push_back(detail::checkpoint_path(folder_, run_.step()));
    writer_.start(std::move(directories), run_.trainer(), info(), [this] { remove_old(); });
    if (to_resume) saved_updates_ = updates();
  }

  CheckpointInfo info() const {
    return {.sampler_position = run_.position(),
            .best = run_.best(),
            .unvalidated = run_.unvalidated(),
            .metadata = options_.metadata};
  }
  std::int64_t updates() const { return run_.trainer().progress().updates; }

  void remove_old() const {
    auto entries = detail::checkpoint_entries(folder_);
    entries.resize(entries.size() - std::min(entries.size(), std::size_t(options_.keep)));
    std::ranges::move(detail::checkpoint_entries(folder_, ".tmp-"), std::back_inserter(entries));
    std::error_code ignored;  // what cannot be removed is only in the way of disk space
    for (const auto& path : entries) std::filesystem::remove_all(path, ignored);
    detail::remove_stale(std::filesystem::absolute(folder_ / "best"));
  }

  const Run& run_;
  std::filesystem::path folder_;
  RunCheckpointOptions options_;
  std::int64_t saved_updates_;  // those behind the newest checkpoint to resume from
  CheckpointWriter<typename Run::Trainer> writer_;
};

}  // namespace fathom::inline FATHOM_ABI
