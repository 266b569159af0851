// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include <charconv>
#include <exception>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/train/file.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

/// Files and directories that appear whole: written beside their target under a temporary name, synced to the disk,
/// then renamed. Whatever kills the program or the machine, the target is the complete old or the complete new version.

namespace fathom::inline FATHOM_ABI {

namespace detail {

inline void sync_path(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY, "open");
  if (::fsync(*file) != 0) throw_system_error(path, "sync", errno);
}

inline void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_system_error(to, "rename " + from.string() + " to it", errno);
}

/// Where a target really is: symbolic links followed, no slash at the end; its parent directory exists afterwards.
inline std::filesystem::path resolve_target(const std::filesystem::path& target) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::weakly_canonical(std::filesystem::absolute(target), error);
  if (error) throw_system_error(target, "resolve", error.value());
  if (!path.has_filename()) path = path.parent_path();
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) throw_system_error(path.parent_path(), "create", error.value());
  return path;
}

inline std::filesystem::path with_suffix(std::filesystem::path path, std::string_view suffix) { return path += suffix; }

/// The name of this process for a version of target that is being written.
inline std::filesystem::path temporary_name(const std::filesystem::path& target) {
  return with_suffix(target, ".tmp-" + std::to_string(::getpid()));
}

/// Removes the temporaries of target whose process has ended, and this process's own: an earlier run may have had the
/// same number.
inline void remove_stale(const std::filesystem::path& target) {
  const std::string prefix = target.filename().string() + ".tmp-";
  std::error_code ignored;  // what cannot be removed is only in the way of disk space
  for (const auto& entry : std::filesystem::directory_iterator(target.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    pid_t process = 0;
    const auto [end, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), process);
    if (error != std::errc{} || end != name.data() + name.size() || process <= 0) continue;
    const bool ended = ::kill(process, 0) != 0 && errno == ESRCH;
    if (ended || process == ::getpid()) std::filesystem::remove_all(entry.path(), ignored);
  }
}

/// Puts directory `fresh` in the place of directory `target` in one step, after which `fresh` is the old version.
/// False where the file system cannot exchange two names.
inline bool exchange(const std::filesystem::path& fresh, const std::filesystem::path& target) {
#ifdef RENAME_EXCHANGE
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) throw_system_error(target, "replace", errno);
#endif
  return false;
}

inline std::filesystem::path old_name(const std::filesystem::path& target) { return with_suffix(target, ".old"); }

/// The same in two steps, between which only the old version is there, as `<target>.old`.
inline void replace_in_two_steps(const std::filesystem::path& fresh, const std::filesystem::path& target) {
  const std::filesystem::path old = old_name(target);
  std::filesystem::remove_all(old);
  rename_path(target, old);
  try {
    rename_path(fresh, target);
  } catch (...) {
    ::rename(old.c_str(), target.c_str());
    throw;
  }
}

}  // namespace detail

/// Keeps a directory for this process: others that ask for it are refused, until the object or the process goes, in
/// whatever way. File systems without locks, as some networks have, keep nobody out.
class DirectoryLock {
 public:
  /// Errors: `FileError` when another process has it, or for a directory that cannot be opened.
  explicit DirectoryLock(const std::filesystem::path& directory)
      : directory_(directory, O_RDONLY | O_DIRECTORY, "open") {
    if (::flock(*directory_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      throw FileError(directory.string() + ": is in use by another process; wait for its end, or choose another");
  }

 private:
  detail::Descriptor directory_;
};

/// Writes `content` as the file `target`, whole or not at all.
/// Errors: `FileError`, and the target is what it was before.
inline void write_file(const std::filesystem::path& target, std::string_view content) {
  const std::filesystem::path path = detail::resolve_target(target);
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    throw FileError(path.string() + ": is not a regular file; choose another path");
  detail::remove_stale(path);
  const std::filesystem::path fresh = detail::temporary_name(path);
  try {
    OutputFile file(fresh);
    file.write(content);
    file.close();
    detail::rename_path(fresh, path);
  } catch (...) {
    ::unlink(fresh.c_str());
    throw;
  }
  detail::sync_path(path.parent_path());
}

/// A directory that is written whole. The caller writes files into `path()`, then calls `commit()`; destroyed without
/// it, or stopped by an exception, the new version is removed and the target is what it was before.
///
/// One process at a time may write a target. A reader that starts while another process commits should open all its
/// files through one `committed_directory` and repeat when one is missing.
class AtomicDirectory {
 public:
  /// Creates `<target>.tmp-<process>` (and the target's parents), after removing what dead processes left.
  explicit AtomicDirectory(const std::filesystem::path& target)
      : target_(detail::resolve_target(target)), path_(detail::temporary_name(target_)) {
    std::error_code error;
    if (std::filesystem::exists(target_, error) && !std::filesystem::is_directory(target_, error))
      throw FileError(target_.string() + ": is a file where a directory is to be written; remove it or choose another");
    detail::remove_stale(target_);
    if (!std::filesystem::create_directory(path_, error)) detail::throw_system_error(path_, "create", error.value());
  }
  ~AtomicDirectory() {
    if (committed_) return;
    try {
      std::filesystem::remove_all(path_);
    } catch (const std::exception&) {  // the next one removes it
    }
  }
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  /// Where to write. Subdirectories are allowed.
  const std::filesystem::path& path() const { return path_; }

  /// Syncs every file and directory and puts the new version in place of the old one, which is then removed.
  void commit() try {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) detail::sync_path(entry.path());
    detail::sync_path(path_);
    if (!std::filesystem::exists(target_)) {
      detail::rename_path(path_, target_);
    } else if (!detail::exchange(path_, target_)) {
      detail::replace_in_two_steps(path_, target_);
    }
    committed_ = true;
    // Only a new version whose name is on the disk may cost the old one its life.
    detail::sync_path(target_.parent_path());
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
    std::filesystem::remove_all(detail::old_name(target_), ignored);
  } catch (const std::filesystem::filesystem_error& error) {
    detail::throw_system_error(error.path1(), "commit", error.code().value());
  }

 private:
  std::filesystem::path target_, path_;
  bool committed_ = false;
};

/// The newest complete version of a directory that `AtomicDirectory` writes: `target`, or `<target>.old` where a crash
/// hit between the two renames of a file system that cannot exchange names. Errors: `FileError` when there is none.
inline std::filesystem::path committed_directory(const std::filesystem::path& target) {
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) return target;
  const std::filesystem::path old = detail::old_name(target.has_filename() ? target : target.parent_path());
  if (std::filesystem::is_directory(old, ignored)) return old;
  throw FileError(target.string() +
                  (std::filesystem::exists(target, ignored) ? ": is not a directory" : ": does not exist") +
                  "; check the path");
}

}  // namespace fathom::inline FATHOM_ABI
