// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/thread.hpp>
#include <fathom/core/threads.hpp>
#include <functional>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// A fixed number of threads that run one function together; the calling thread is number 0. Between regions the others
/// spin for a moment, then sleep. Allocates only when it is made.
class Team {
 public:
  /// `threads`: 0: as many as the process may run at the same time (threads.hpp), or fewer where the system gives
  /// fewer. Errors: `Error` when the system does not give as many as were asked for.
  explicit Team(int threads) : Team() {  // from here on the destructor dismisses those that were started
    const int available = threads == 1 ? 1 : available_threads();
    const int wanted = threads > 0 ? threads : available;
    spins_ = wanted <= available ? 4000 : 0;
    try {
      while (size() < wanted) threads_.emplace_back([this, number = size()] { serve(number); });
    } catch (const std::system_error& error) {
      if (threads > 0)
        throw Error("Cpu: cannot start " + std::to_string(threads) + " threads: " + error.what() +
                    "; ask for fewer, or raise the limit of processes (ulimit -u)");
    }
    advances_ = Indexed<std::vector<Count>>(size());
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team() { dismiss(); }

  int size() const { return int(threads_.size()) + 1; }

  /// Calls f(number) on every thread and waits. The first exception is rethrown; `barrier` then no longer waits, so
  /// that the other threads come to their end.
  template <class F>
  void run(F&& f) {
    std::function<void(int)> region = std::ref(f);  // a reference: no allocation
    region_ = &region;
    failed_.store(false, std::memory_order_relaxed);
    error_ = nullptr;
    arrived_.store(0, std::memory_order_relaxed);
    tickets_.store(0, std::memory_order_relaxed);
    for (Count& count : advances_) count.value.store(0, std::memory_order_relaxed);
    running_.store(size() - 1, std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    if (size() > 1) epoch_.notify_all();
    call(0);
    for (int running; (running = running_.load(std::memory_order_acquire)) > 0;) wait_while(running_, running);
    if (error_) std::rethrow_exception(error_);
  }

  /// Waits until every thread of the region has come here. Returns at once when one of them has failed.
  void barrier() {
    if (size() == 1) return;
    const std::uint32_t turn = turn_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size()) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
      turn_.notify_all();
    } else if (!failed_.load()) {
      wait_while(turn_, turn);
    }
  }

  /// Thread `number` has come one step further in the region.
  void advance(int number) {
    advances_[number].value.fetch_add(1, std::memory_order_release);
    advances_[number].value.notify_all();
  }

  /// Waits until every thread has come `steps` steps far. Returns when one of them has failed.
  void await(std::uint32_t steps) {
    for (const Count& count : advances_)
      for (std::uint32_t seen; (seen = count.value.load(std::memory_order_acquire)) < steps;)
        wait_while(count.value, seen);
  }

  /// 0, 1, 2, … to whoever asks next in the region.
  int ticket() { return tickets_.fetch_add(1, std::memory_order_relaxed); }

 private:
  struct alignas(64) Count {
    std::atomic<std::uint32_t> value{0};
  };

  Team() = default;

  /// Lets the threads end.
  void dismiss() {
    region_ = nullptr;
    epoch_.fetch_add(1);
    epoch_.notify_all();
  }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#endif
  }
  /// Waits until `value` is no longer `old`: spins for some microseconds, which is how far partners mostly are, unless
  /// there are more threads than cores; then sleeps.
  template <class T>
  void wait_while(const std::atomic<T>& value, T old) const {
    for (int spin = 0; spin < spins_; ++spin) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause();
    }
    value.wait(old, std::memory_order_acquire);
  }

  void call(int number) {
    try {
      (*region_)(number);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
      turn_.fetch_add(1);  // whoever waits goes on to the end
      turn_.notify_all();
      advances_[number].value.store(failed_far);
      advances_[number].value.notify_all();
    }
  }

  void serve(int number) {
    std::uint32_t seen = 0;
    for (;;) {
      wait_while(epoch_, seen);
      seen = epoch_.load(std::memory_order_acquire);
      if (region_ == nullptr) return;
      call(number);
      if (running_.fetch_sub(1, std::memory_order_release) == 1) running_.notify_one();
    }
  }

  /// As far as any thread can wait for.
  static constexpr std::uint32_t failed_far = std::numeric_limits<std::uint32_t>::max();

  int spins_ = 0;
  std::function<void(int)>* region_ = nullptr;
  std::exception_ptr error_;
  alignas(64) std::atomic<std::uint32_t> epoch_{0};
  alignas(64) std::atomic<int> running_{0};
  alignas(64) std::atomic<std::uint32_t> turn_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<bool> failed_{false};
  alignas(64) std::atomic<int> tickets_{0};
  Indexed<std::vector<Count>> advances_;
  std::vector<Thread> threads_;
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
