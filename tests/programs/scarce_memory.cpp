// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstddef>

/// To be preloaded: a C library that runs out of memory. Allocations are counted from where the program's own variables
/// are made, before its `main`:
///
///   FATHOM_TEST_FAIL   number of the allocation that fails; with "+" behind it, all later ones fail too
///   FATHOM_TEST_COUNT  a file that gets the number of allocations at the end

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {

std::atomic<long> allocations = 0;
long first = LONG_MAX, last = LONG_MAX;  // that fail

[[gnu::constructor]] void begin() {
  if (const char* const text = ::getenv("FATHOM_TEST_FAIL")) {
    char* end;
    first = ::strtol(text, &end, 10);
    last = *end == '+' ? LONG_MAX : first;
  }
  allocations = 0;
}

[[gnu::destructor]] void end() {
  const char* const path = ::getenv("FATHOM_TEST_COUNT");
  if (path == nullptr) return;
  char text[32];
  const int size = ::snprintf(text, sizeof text, "%ld", allocations.load());
  const int file = ::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (::write(file, text, std::size_t(size)) < 0) ::abort();
  ::close(file);
}

bool fails() {
  const long number = ++allocations;
  const bool result = number >= first && number <= last;
  if (result) errno = ENOMEM;
  return result;
}

}  // namespace

extern "C" {
void* malloc(std::size_t size) noexcept { return fails() ? nullptr : __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) noexcept { return fails() ? nullptr : __libc_calloc(count, size); }
void* realloc(void* memory, std::size_t size) noexcept { return fails() ? nullptr : __libc_realloc(memory, size); }
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return fails() ? nullptr : __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return memalign(alignment, size); }
int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  void* const memory = memalign(alignment, size);
  if (memory == nullptr) return ENOMEM;
  *result = memory;
  return 0;
}
}
