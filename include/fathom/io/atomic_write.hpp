// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <exception>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/directory.hpp>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

/// Files and directories that appear whole: written beside their target under a temporary name, synced to the disk,
/// then renamed. Whatever kills the program or the machine, the target is the complete old or the complete new version.

namespace fathom::inline FATHOM_ABI {

namespace detail {

inline void sync_path(const std::filesystem::path& path) { sync(Descriptor(path, O_RDONLY, "open"), path); }

inline void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_system_error(to, "rename " + from.string() + " to it", errno);
}

/// Renames a directory. False where the file system cannot: overlays move no directory of a lower layer, and some none.
inline bool move_directory(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return true;
  if (errno != EXDEV) throw_system_error(to, "rename " + from.string() + " to it", errno);
  return false;
}

/// Waits until the disk has a directory with all that is in it.
inline void sync_tree(const std::filesystem::path& directory) {
  for (const std::filesystem::path& path : entries_of(directory))
    std::filesystem::is_directory(std::filesystem::symlink_status(path)) ? sync_tree(path) : sync_path(path);
  sync_path(directory);
}

/// Where a target really is: symbolic links followed, no slash at the end.
inline std::filesystem::path resolve_target(const std::filesystem::path& target) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::weakly_canonical(std::filesystem::absolute(target), error);
  if (error) throw_system_error(target, "resolve", error.value());
  return path.has_filename() ? path : path.parent_path();
}

inline void make_directories(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw_system_error(path, "create", error.value());
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
  for (const std::filesystem::path& path : entries_of(target.parent_path(), ignored)) {
    const std::string name = path.filename().string();
    if (!name.starts_with(prefix)) continue;
    pid_t process = 0;
    const auto [end, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), process);
    if (error != std::errc{} || end != name.data() + name.size() || process <= 0) continue;
    const bool ended = ::kill(process, 0) != 0 && errno == ESRCH;
    if (ended || process == ::getpid()) std::filesystem::remove_all(path, ignored);
  }
}

/// Whether there is a directory. Errors: `FileError` where that cannot be told.
inline bool directory_exists(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::none) throw_system_error(path, "open", error.value());
  return std::filesystem::is_directory(status);
}

/// Puts directory `fresh` in the place of directory `target` in one step, after which `fresh` is the old version.
/// False where the file system cannot.
inline bool exchange(const std::filesystem::path& fresh, const std::filesystem::path& target) {
#ifdef RENAME_EXCHANGE
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP && errno != EXDEV)
    throw_system_error(target, "replace", errno);
#endif
  return false;
}

/// A version of target that is complete and counts before `target`, whose removal has begun. It may be a link to the
/// temporary directory.
inline std::filesystem::path successor_name(const std::filesystem::path& target) {
  return with_suffix(target.has_filename() ? target : target.parent_path(), ".committed");
}

/// Makes the complete directory `fresh` the successor. Where it cannot be moved it stays as long as there is one.
inline void make_successor(const std::filesystem::path& fresh, const std::filesystem::path& target) {
  const std::filesystem::path successor = successor_name(target);
  if (!move_directory(fresh, successor)) {
    std::error_code error;
    std::filesystem::remove(successor, error);  // a link to nothing
    std::filesystem::create_directory_symlink(fresh.filename(), successor, error);
    if (error) throw_system_error(successor, "create", error.value());
  }
  sync_path(target.parent_path());
}

/// Puts the successor, if there is one, in the place of target, which need not be moved for that. There is a complete
/// version at every moment.
inline void finish_replacement(const std::filesystem::path& target) try {
  const std::filesystem::path successor = successor_name(target);
  if (!directory_exists(successor)) return;
  if (!std::filesystem::is_symlink(successor)) {
    std::filesystem::remove_all(target);
    return rename_path(successor, target);
  }
  // The directory itself stays: where none can be renamed, none may be able to come where one was.
  std::filesystem::create_directory(target);
  const std::vector<std::filesystem::directory_entry> old{std::filesystem::directory_iterator(target), {}};
  for (const auto& entry : old) std::filesystem::remove_all(entry);
  std::filesystem::copy(successor, target, std::filesystem::copy_options::recursive);
  sync_tree(target);
  std::filesystem::remove(successor);
} catch (const std::filesystem::filesystem_error& error) {
  throw_system_error(error.path1(), "replace", error.code().value());
}

}  // namespace detail

/// Keeps a directory for this process: others that ask for it are refused, until the object or the process goes, in
/// whatever way. File systems without locks, as some networks have, keep nobody out.
class DirectoryLock {
 public:
  /// Makes the directory and its parents where they are not there; those that are empty in the end go with the object.
  /// Errors: `FileError` when another process has it, or for a directory that cannot be made or opened.
  explicit DirectoryLock(std::filesystem::path directory) : path_(std::move(directory)) {
    do {
      make();
      directory_.emplace(path_, O_RDONLY | O_DIRECTORY, "open");
      if (::flock(**directory_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        throw FileError(path_.string() + ": is in use by another process; wait for its end, or choose another");
    } while (find() != 0);  // who made it has just left it empty
    resolved_ = detail::resolve_target(path_);
  }
  ~DirectoryLock() {
    if (find() != 0) return;
    for (const std::filesystem::path& path : made_) ::rmdir(path.c_str());
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  /// As it was given.
  const std::filesystem::path& path() const { return path_; }

  /// A path beside the directory: its absolute name with `suffix`, links followed.
  std::filesystem::path sibling(std::string_view suffix) const { return detail::with_suffix(resolved_, suffix); }

  /// Whether `path()` is seen to be the directory that is locked.
  bool is_there() const noexcept { return find() == 0; }
  /// Whether that is seen to be removed, renamed or replaced; another process may have what is there now, or make it.
  /// Neither of the two where it cannot be told, as while a disk of the network does not answer.
  bool is_gone() const noexcept {
    const int error = find();
    return error == ENOENT || error == ENOTDIR || error == ESTALE;
  }
  /// Errors: `FileError` when it is gone.
  void check() const {
    if (is_gone())
      throw FileError(path_.string() + ": was removed or replaced while this program wrote to it; start again");
  }

 private:
  void make() {
    std::error_code error;
    for (std::filesystem::path path = std::filesystem::absolute(path_);
         !std::filesystem::exists(path, error) && path.has_relative_path(); path = path.parent_path())
      made_.push_back(path);
    detail::make_directories(path_);
  }
  /// 0: it is there; else the system's reason.
  int find() const noexcept {
    struct stat locked, named;
    if (::fstat(**directory_, &locked) != 0 || ::stat(path_.c_str(), &named) != 0) return errno;
    return locked.st_dev == named.st_dev && locked.st_ino == named.st_ino ? 0 : ENOENT;
  }

  std::filesystem::path path_, resolved_;
  std::vector<std::filesystem::path> made_;  // the innermost first
  std::optional<detail::Descriptor> directory_;
};

namespace detail {

/// Calls `write(path)` to write the file `path`, and puts it in the place of `target`; makes its folders.
/// Errors: `FileError`, those of `write`, and the target is what it was before.
template <class Write>
void replace_file(const std::filesystem::path& target, Write&& write) {
  const std::filesystem::path path = resolve_target(target);
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    throw FileError(path.string() + ": is not a regular file; choose another path");
  make_directories(path.parent_path());
  remove_stale(path);
  const std::filesystem::path fresh = temporary_name(path);
  try {
    write(fresh);
    rename_path(fresh, path);
  } catch (...) {
    ::unlink(fresh.c_str());
    throw;
  }
  sync_path(path.parent_path());
}

}  // namespace detail

/// Writes `content` as the file `target`, whole or not at all; makes its folders.
/// Errors: `FileError`, and the target is what it was before.
inline void write_file(const std::filesystem::path& target, std::string_view content) {
  detail::replace_file(target, [content](const std::filesystem::path& path) {
    OutputFile file(path);
    file.write(content);
    file.close();
  });
}

/// A directory that is written whole. The caller writes files into `path()`, then calls `commit()`; destroyed without
/// it, or stopped by an exception, the new version is removed and the target is what it was before.
///
/// One process at a time may write a target. A reader that starts while another process commits should open all its
/// files through one `committed_directory` and repeat when one is missing.
class AtomicDirectory {
 public:
  /// Creates `<target>.tmp-<process>`, after removing what dead processes left and ending what they began. The target's
  /// parent is there, or it is an error: a folder that somebody removes while a run is in it does not come again.
  explicit AtomicDirectory(const std::filesystem::path& target)
      : target_(detail::resolve_target(target)), path_(detail::temporary_name(target_)) {
    std::error_code error;
    if (std::filesystem::exists(target_, error) && !std::filesystem::is_directory(target_, error))
      throw FileError(target_.string() + ": is a file where a directory is to be written; remove it or choose another");
    detail::finish_replacement(target_);
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
  /// Errors: `FileError`, and `committed_directory` finds the old version or the new one.
  void commit() try {
    detail::sync_tree(path_);
    const bool replaces = std::filesystem::exists(target_);
    const bool done = replaces ? detail::exchange(path_, target_) : detail::move_directory(path_, target_);
    if (!done) detail::make_successor(path_, target_);
    committed_ = true;
    detail::finish_replacement(target_);
    // Only a new version whose name is on the disk may cost the old one its life.
    detail::sync_path(target_.parent_path());
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  } catch (const std::filesystem::filesystem_error& error) {
    detail::throw_system_error(error.path1(), "commit", error.code().value());
  }

 private:
  std::filesystem::path target_, path_;
  bool committed_ = false;
};

/// The newest complete version of a directory that `AtomicDirectory` writes: `target`, or `<target>.committed` where a
/// crash hit while the one was put in the place of the other; nothing when there is none.
/// Errors: `FileError` where that cannot be told.
inline std::optional<std::filesystem::path> find_committed_directory(const std::filesystem::path& target) {
  for (const auto& path : {detail::successor_name(target), target})
    if (detail::directory_exists(path)) return path;
  return std::nullopt;
}

/// The same where there has to be one. Errors: `FileError` when there is none.
inline std::filesystem::path committed_directory(const std::filesystem::path& target) {
  if (const auto found = find_committed_directory(target)) return *found;
  std::error_code ignored;
  throw FileError(target.string() +
                  (std::filesystem::exists(target, ignored) ? ": is not a directory" : ": does not exist") +
                  "; check the path");
}

}  // namespace fathom::inline FATHOM_ABI
