// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

/// To be preloaded: a system that can do less. FATHOM_TEST_WITHOUT names what it refuses:
///
///   sync     of directories: EINVAL, as shared folders do
///   rename   of directories that this process has not made: EXDEV, as an overlay does with those of its lower layers
///   move     of any directory: EXDEV, as an overlay without extended attributes does
///   threads  all: EAGAIN, as at the limit of processes

namespace {

bool without(const char* what) {
  const char* const list = std::getenv("FATHOM_TEST_WITHOUT");
  return list && std::strstr(list, what);
}

template <class Function>
Function real(const char* name, Function) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

std::pair<dev_t, ino_t> directory(const char* path) {
  struct stat status;
  if (::stat(path, &status) != 0 || !S_ISDIR(status.st_mode)) return {};
  return {status.st_dev, status.st_ino};
}

/// The directories that this process has made.
struct Made {
  std::mutex mutex;
  std::set<std::pair<dev_t, ino_t>> ids;

  void add(const char* path) {
    const std::lock_guard lock(mutex);
    ids.insert(directory(path));
  }
  bool may_be_moved(const char* path) {
    const std::lock_guard lock(mutex);
    const auto id = directory(path);
    return id.second == 0 || (!without("move") && (!without("rename") || ids.contains(id)));
  }
};
Made& made() {
  static Made directories;
  return directories;
}

int refuse(int error) {
  errno = error;
  return -1;
}

}  // namespace

extern "C" {

int fsync(int file) {
  struct stat status;
  if (without("sync") && ::fstat(file, &status) == 0 && S_ISDIR(status.st_mode)) return refuse(EINVAL);
  return real("fsync", fsync)(file);
}

int mkdir(const char* path, mode_t mode) noexcept {
  const int result = real("mkdir", mkdir)(path, mode);
  if (result == 0) made().add(path);
  return result;
}

int rename(const char* from, const char* to) noexcept {
  return made().may_be_moved(from) ? real("rename", rename)(from, to) : refuse(EXDEV);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  if (!made().may_be_moved(from) || ((flags & RENAME_EXCHANGE) && !made().may_be_moved(to))) return refuse(EXDEV);
  return real("renameat2", renameat2)(from_folder, from, to_folder, to, flags);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) noexcept {
  if (without("threads")) return EAGAIN;
  return real("pthread_create", pthread_create)(thread, attributes, body, argument);
}

}  // extern "C"
