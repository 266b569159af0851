// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <exception>
#include <fathom/core/config.hpp>
#include <fathom/core/thread.hpp>
#include <functional>
#include <system_error>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// One piece of work at a time beside the thread that owns this object, such as writing a file.
class Background {
 public:
  /// Waits for the work before, then begins this one. Where the system gives no thread, the calling one does the work.
  /// Errors: those of the work before.
  void start(std::function<void()> work) {
    wait();
    work_ = std::move(work);
    over_.store(false, std::memory_order_relaxed);
    try {
      thread_ = Thread([this] { run(); });
    } catch (const std::system_error&) {
      run();
    }
  }

  /// Waits for the work. Errors: those of the work, once.
  void wait() {
    thread_.join();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  /// As `wait` if the work is over; otherwise nothing.
  void check() {
    if (over_.load(std::memory_order_acquire)) wait();
  }

 private:
  void run() {
    try {
      std::exchange(work_, nullptr)();
    } catch (...) {
      error_ = std::current_exception();
    }
    over_.store(true, std::memory_order_release);
  }

  std::function<void()> work_;
  std::exception_ptr error_;  // written before `over_`
  std::atomic<bool> over_{true};
  Thread thread_;
};

}  // namespace fathom::inline FATHOM_ABI
