// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <support/sanitized.hpp>

/// Counts what a test program allocates, by malloc and what comes to it: operator new, and the buffers that Eigen packs
/// into. It stands between the program and the C library.
namespace fathom_test {

/// Sanitizers stand there themselves, and far memory keeps lists: nothing is counted then.
#if defined(__GLIBC__) && !FATHOM_TEST_SANITIZED && !defined(FATHOM_TEST_FAR)
inline constexpr bool allocations_are_counted = true;
#else
inline constexpr bool allocations_are_counted = false;
#endif

/// Allocations so far, and the bytes that they asked for, by all threads.
inline std::atomic<long> allocations = 0, allocated_bytes = 0;

}  // namespace fathom_test

#if defined(__GLIBC__) && !FATHOM_TEST_SANITIZED && !defined(FATHOM_TEST_FAR)
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace fathom_test {
inline void count(std::size_t bytes) {
  ++allocations;
  allocated_bytes += static_cast<long>(bytes);
}
}  // namespace fathom_test

// Weak: several sources of a program may include this.
extern "C" {
[[gnu::weak]] void* malloc(std::size_t size) noexcept {
  fathom_test::count(size);
  return __libc_malloc(size);
}
[[gnu::weak]] void* calloc(std::size_t count, std::size_t size) noexcept {
  fathom_test::count(count * size);
  return __libc_calloc(count, size);
}
[[gnu::weak]] void* realloc(void* memory, std::size_t size) noexcept {
  fathom_test::count(size);
  return __libc_realloc(memory, size);
}
[[gnu::weak]] void* memalign(std::size_t alignment, std::size_t size) noexcept {
  fathom_test::count(size);
  return __libc_memalign(alignment, size);
}
[[gnu::weak]] void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return memalign(alignment, size);
}
}
#endif
