// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

/// Counts what a test program allocates. Include it in one source of a program: it replaces operator new and delete.
namespace fathom_test {

/// Allocations so far, by all threads.
inline std::atomic<long> allocations = 0;

// Inlined, g++ takes this and free() below for a mismatched pair.
[[gnu::noinline]] inline void* counted_allocation(std::size_t size, std::size_t alignment) {
  ++allocations;
  if (void* const memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)) return memory;
  throw std::bad_alloc();
}

}  // namespace fathom_test

// Weak, because the thread sanitizer of clang brings its own.
[[gnu::weak, gnu::noinline]] void* operator new(std::size_t size) {
  return fathom_test::counted_allocation(size, alignof(std::max_align_t));
}
[[gnu::weak, gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return fathom_test::counted_allocation(size, std::size_t(alignment));
}
[[gnu::weak, gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::weak, gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::weak, gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::weak, gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
