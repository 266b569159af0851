// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <fathom/core/config.hpp>
#include <thread>
#include <type_traits>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// A std::thread whose owner waits for its end: std::jthread without the stop token, which libc++ keeps back.
/// Errors: `std::system_error` when the system gives no thread.
class Thread {
 public:
  Thread() = default;
  template <class F>
  requires(!std::same_as<std::remove_cvref_t<F>, Thread>) explicit Thread(F&& f) : thread_(std::forward<F>(f)) {}
  Thread(Thread&&) = default;
  Thread& operator=(Thread&& other) {
    join();
    thread_ = std::move(other.thread_);
    return *this;
  }
  ~Thread() { join(); }

  /// Whether there is one that nobody has waited for.
  bool joinable() const { return thread_.joinable(); }
  /// Waits for its end, if there is one.
  void join() {
    if (joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace fathom::inline FATHOM_ABI
