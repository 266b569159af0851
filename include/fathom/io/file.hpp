// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

/// Files whose every failure is a FileError. Streams of the standard library lose the reason (a full disk, a missing
/// permission) and cannot be synced; these are thin owners of a POSIX descriptor.

namespace fathom::inline FATHOM_ABI {

namespace detail {

/// What a user can do about a failed system call.
inline const char* remedy(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free some disk space";
    case EFBIG:
      return "raise the file size limit (ulimit -f)";
    case ENOENT:
      return "check the path";
    case EACCES:
    case EPERM:
      return "check the permissions";
    case EROFS:
      return "choose a path on a writable file system";
    case ENXIO:
      return "give a regular file";
    case EISDIR:
      return "name a file, not a directory";
    case ENOTDIR:
      return "a part of the path is not a directory";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files (ulimit -n)";
    default:
      return "check the disk";
  }
}

[[noreturn]] inline void throw_system_error(const std::filesystem::path& path, std::string_view action, int error) {
  throw FileError(path.string() + ": cannot " + std::string(action) + ": " + std::generic_category().message(error) +
                  "; " + remedy(error));
}

/// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags, std::string_view action)
      : value_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (value_ < 0) throw_system_error(path, action, errno);
  }
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int operator*() const { return value_; }
  /// Closes; returns whether that succeeded.
  bool close() { return ::close(std::exchange(value_, -1)) == 0; }

 private:
  int value_;
};

/// A file open for reading. Opening waits for nobody, as it would for the writer of a pipe.
class InputFile : public Descriptor {
 public:
  explicit InputFile(const std::filesystem::path& path) : Descriptor(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, "open") {
    if (::fstat(**this, &status_) != 0) throw_system_error(path, "open", errno);
  }
  bool is_regular() const { return S_ISREG(status_.st_mode); }
  bool is_pipe() const { return S_ISFIFO(status_.st_mode); }
  bool is_directory() const { return S_ISDIR(status_.st_mode); }
  /// Bytes of a regular file.
  std::size_t size() const { return static_cast<std::size_t>(status_.st_size); }

 private:
  struct stat status_;
};

/// Waits until a pipe has something to read, or its end. Errors: `FileError` when a signal comes first.
inline void wait_for_input(const std::filesystem::path& path, int pipe) {
  pollfd wanted{pipe, POLLIN, 0};
  if (::poll(&wanted, 1, -1) >= 0) return;
  if (errno == EINTR) throw FileError(path.string() + ": the wait for its end was interrupted; give a regular file");
  throw_system_error(path, "read", errno);
}

/// Waits until the disk has the file or the directory. Where a file system offers no such wait, as some of networks and
/// shared folders do for directories, there is nothing to wait for.
inline void sync(const Descriptor& file, const std::filesystem::path& path) {
  if (::fsync(*file) == 0 || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS || errno == EBADF) return;
  throw_system_error(path, "sync", errno);
}

}  // namespace detail

/// A new file being written. Errors (all members): `FileError` with the path, the system's reason and what to do.
class OutputFile {
 public:
  /// Creates the file, or empties the one that is there; a pipe that nobody reads is refused at once.
  explicit OutputFile(std::filesystem::path path)
      : path_(std::move(path)), file_(path_, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, "create") {}

  /// Appends.
  void write(std::span<const std::byte> bytes) {
    write_at(size_, bytes);
    size_ += bytes.size();
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Replaces bytes from `offset` on; does not move the end that `write` appends to.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(*file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) detail::throw_system_error(path_, "write", written < 0 ? errno : ENOSPC);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
      offset += static_cast<std::uint64_t>(written);
    }
  }

  /// Waits until the disk has everything, then closes. A file that is destroyed without it may be incomplete.
  void close() {
    detail::sync(file_, path_);
    if (!file_.close()) detail::throw_system_error(path_, "close", errno);
  }

  std::uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  detail::Descriptor file_;
  std::uint64_t size_ = 0;
};

/// The bytes of a regular file, mapped read-only; pages are read when touched. A file that another program shortens in
/// the meantime ends the process with SIGBUS, as with every mapping; files that are replaced by renaming do not.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path) : path_(std::move(path)) {
    const detail::InputFile file(path_);
    if (!file.is_regular()) throw FileError(path_.string() + ": is not a regular file; check the path");
    size_ = file.size();
    if (size_ == 0) return;
    void* const address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, *file, 0);
    if (address == MAP_FAILED) detail::throw_system_error(path_, "map", errno);
    data_ = static_cast<const std::byte*>(address);
  }
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The whole content of a regular file, or of a pipe, to its end. A pipe that nobody has open to write is empty.
/// Errors: `FileError`, also when a signal comes while a pipe has nothing to read.
inline std::string read_file(const std::filesystem::path& path) {
  const detail::InputFile file(path);
  if (file.is_directory()) detail::throw_system_error(path, "read", EISDIR);
  if (!file.is_regular() && !file.is_pipe())
    throw FileError(path.string() + ": is a device, which may have no end; give a regular file");
  std::string content;
  std::size_t size = 0;
  // One byte more than a regular file's size, so that the read which finds the end needs no second buffer.
  content.resize(file.is_regular() ? file.size() + 1 : std::size_t{1} << 16);
  for (;;) {
    if (size == content.size()) content.resize(2 * size);
    const ssize_t count = ::read(*file, content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      detail::wait_for_input(path, *file);
      continue;
    }
    if (count < 0) detail::throw_system_error(path, "read", errno);
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  content.resize(size);
  return content;
}

}  // namespace fathom::inline FATHOM_ABI
