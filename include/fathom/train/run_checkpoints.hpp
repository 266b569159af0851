// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/atomic_write.hpp>
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

/// What a listing of checkpoints takes.
enum class Listed {
  written,  ///< what can be read
  begun     ///< that, and those of which there is only a temporary of `AtomicDirectory`
};

/// The checkpoints in `folder`/checkpoints, whose names are digits; as numbers they rise. One that is there under its
/// successor's name only, as a crash can leave it, counts as well: `committed_directory` finds it.
/// Errors: `FileError` for a folder that is there and cannot be listed.
inline std::vector<std::filesystem::path> checkpoint_entries(const std::filesystem::path& folder,
                                                             Listed listed = Listed::written) {
  std::vector<std::filesystem::path> entries;
  std::error_code error;
  const std::vector<std::filesystem::path> all = entries_of(folder / "checkpoints", error);
  if (error == std::errc::no_such_file_or_directory) return entries;
  if (error) throw_system_error(folder / "checkpoints", "list", error.value());
  for (const std::filesystem::path& path : all) {
    const std::string name = path.filename().string();
    const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    const std::filesystem::path target = path.parent_path() / name.substr(0, digits);
    const bool is_one = name.size() == digits || (path == successor_name(target) && directory_exists(path)) ||
                        (listed == Listed::begun && std::string_view(name).substr(digits).starts_with(".tmp-"));
    if (digits > 0 && is_one) entries.push_back(target);
  }
  std::ranges::sort(entries, {}, [](const std::filesystem::path& entry) {
    const std::string name = entry.filename().string();
    return std::pair(name.size(), name);
  });
  entries.erase(std::ranges::unique(entries).begin(), entries.end());
  return entries;
}

}  // namespace detail

/// The checkpoint that a run in `folder` resumes from: the newest one, or the best one where there is no other yet;
/// nothing when there is neither. Errors: `FileError` where that cannot be told. Whoever trains locks the folder before
/// (`DirectoryLock`): another run may be about to write one.
inline std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder) {
  const auto entries = detail::checkpoint_entries(folder);
  return entries.empty() ? find_committed_directory(folder / "best") : entries.back();
}

/// The checkpoint to use a run's model from: the best one, or the newest of a run that was not validated; nothing when
/// there is neither. Errors: `FileError` where that cannot be told.
inline std::optional<std::filesystem::path> best_checkpoint(const std::filesystem::path& folder) {
  const auto best = find_committed_directory(folder / "best");
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
///   const DirectoryLock folder("runs/one");
///   …
///   RunCheckpoints checkpoints(run, folder, {.every = 500});
///   for (const RunReport& report : run) {
///     log.row(…);
///     checkpoints.save_if_due();
///   }
///
/// The state is copied and written by a thread of its own while training goes on (see `CheckpointWriter`); behind the
/// last update everything is on disk. The run and the lock are viewed.
///
/// A folder that was removed or replaced is no longer the run's: another may be in it. What to resume from then goes to
/// a folder beside it, `<folder>.rescued-<process>`, and an error says so. The same where the folder cannot be reached
/// and a checkpoint could not be written; until then the run goes on.
template <class Run>
class RunCheckpoints {
 public:
  /// Removes what killed runs left half done; saves the best checkpoint where the run is at its best and that one is
  /// missing. Errors: `Error` unless `every` and `keep` are positive, and for what a checkpoint cannot hold, such as
  /// metadata that are not UTF-8; `FileError` for a folder that is gone.
  RunCheckpoints(const Run& run, const DirectoryLock& folder, RunCheckpointOptions options)
      : run_(run), folder_(folder), options_(std::move(options)), saved_updates_(updates()) {
    if (options_.every < 1 || options_.keep < 1) throw Error("RunCheckpoints: every and keep must be at least 1");
    TrainingState<typename Run::Trainer>(run_.trainer(), info());  // what it cannot hold is refused now
    folder_.check();
    detail::make_directories(folder_.path() / "checkpoints");
    remove_old();
    if (run_.best().step > 0 && run_.best().step == run_.step() && best_is_missing()) save(true, false);
  }

  /// Saves the best checkpoint if the update at hand is the best, and one to resume from if that is due. Those that are
  /// too old go when the new one is complete. Errors, also of the checkpoint before: `FileError`, and every earlier
  /// checkpoint is still there.
  void save_if_due() {
    in_folder([this] {
      writer_.check();
      const bool is_last = run_.report().is_last, to_resume = is_last || run_.step() % options_.every == 0;
      if (run_.report().is_best || to_resume) save(run_.report().is_best, to_resume);
      if (is_last) wait();
    });
  }

  /// When the loop has ended without the report of the last update, by its exception or as its validation was stopped:
  /// saves what to resume from, unless no weight has changed since that was done. Errors: `FileError`, and every
  /// earlier checkpoint is still there.
  void save_rest() {
    in_folder([this] {
      if (updates() > saved_updates_) save(false, true);
      wait();
    });
  }

 private:
  void save(bool best, bool to_resume) {
    std::vector<std::filesystem::path> directories;
    if (best) directories.push_back(folder_.path() / "best");
    if (to_resume) directories.push_back(detail::checkpoint_path(folder_.path(), run_.step()));
    writer_.start(
        std::move(directories), run_.trainer(), info(), [this] { remove_old(); }, [this] { folder_.check(); });
    if (to_resume) saved_updates_ = updates();
  }

  void wait() {
    writer_.wait();
    check_folder();
  }

  std::string gone_message() const {
    return folder_.path().string() + ": was removed or replaced while a run was in it";
  }
  void check_folder() const {
    if (folder_.is_gone()) throw FileError(gone_message());
  }

  /// What `work` does; where it fails as the folder is not there, the rescue.
  template <class Work>
  void in_folder(Work&& work) {
    try {
      check_folder();
      work();
    } catch (const FileError& error) {
      if (folder_.is_there()) throw;
      rescue(folder_.is_gone() ? gone_message() : error.what());
    }
  }

  [[noreturn]] void rescue(const std::string& cause) {
    try {
      writer_.wait();
    } catch (const Error&) {  // it has nowhere to write
    }
    const std::filesystem::path rescued = folder_.sibling(".rescued-" + std::to_string(::getpid()));
    try {
      save_checkpoint(detail::checkpoint_path(rescued, run_.step()), run_.trainer(), info());
    } catch (const Error& error) {
      throw FileError(cause + "; what the run had learned could not be saved elsewhere: " + error.what());
    }
    throw FileError(cause + "; what the run had learned is in " + rescued.string() + ", resume it there");
  }

  CheckpointInfo info() const {
    return {
        .cursor = run_.cursor(), .best = run_.best(), .unvalidated = run_.unvalidated(), .metadata = options_.metadata};
  }

  std::int64_t updates() const { return run_.trainer().counters().updates; }

  bool best_is_missing() const try {
    const auto best = find_committed_directory(folder_.path() / "best");
    return !best || read_checkpoint_info(*best).best.step != run_.best().step;
  } catch (const FileError&) {  // a damaged one is not replaced unseen
    return false;
  }

  void remove_old() const try {
    if (!folder_.is_there()) return;  // what another run has written is not this one's to remove
    auto begun = detail::checkpoint_entries(folder_.path(), detail::Listed::begun);
    begun.push_back(std::filesystem::absolute(folder_.path() / "best"));
    for (const auto& target : begun) {
      detail::finish_replacement(target);
      detail::remove_stale(target);
    }
    auto entries = detail::checkpoint_entries(folder_.path());
    entries.resize(entries.size() - std::min(entries.size(), std::size_t(options_.keep)));
    std::error_code ignored;  // what cannot be removed is only in the way of disk space
    for (const auto& path : entries) std::filesystem::remove_all(path, ignored);
  } catch (const FileError&) {  // nor what cannot be listed
  }

  const Run& run_;
  const DirectoryLock& folder_;
  RunCheckpointOptions options_;
  std::int64_t saved_updates_;  // those behind the newest checkpoint to resume from
  CheckpointWriter<typename Run::Trainer> writer_;
};

}  // namespace fathom::inline FATHOM_ABI
