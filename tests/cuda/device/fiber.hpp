// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace emulated {

/// A call that can stop in the middle, and go on. It has a stack of its own, with a page without rights below.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Makes the next `resume` begin `body(argument)`. A call that has stopped in the middle is given up. `body` throws
  /// nothing.
  void begin(void (*body)(void*), void* argument);
  /// Runs until the body calls `stop`, or ends.
  void resume();
  /// In a body: back to who has resumed it.
  void stop();

 private:
  static void enter(Fiber* fiber);

  static constexpr std::size_t stack_bytes = std::size_t{128} << 10;
  std::byte* memory_;
  void* own_ = nullptr;     ///< the stack pointer of the fiber while it stands
  void* caller_ = nullptr;  ///< that of who resumed it, while it runs
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  // What the address sanitizer, where there is one, wants to know of stacks.
  void* own_fake_ = nullptr;
  [[maybe_unused]] void* caller_fake_ = nullptr;
  [[maybe_unused]] const void* caller_stack_ = nullptr;
  [[maybe_unused]] std::size_t caller_size_ = 0;
};

}  // namespace emulated
