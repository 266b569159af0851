// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>

#include <array>
#include <atomic>
#include <cstddef>

/// Lets a program finish its step, save and exit when it is asked to stop: by Ctrl-C, SIGTERM, or the end of its
/// terminal.
///
///   const StopSignal stop;
///   while (!stop && step < steps) …
///   if (stop) return stop.exit_code();
///
/// A signal is caught once: the second Ctrl-C ends the program on the spot. What was ignored when the program started
/// stays ignored: the shell's jobs in the background do not hear Ctrl-C, and nohup keeps a program that outlives its
/// terminal. One object at a time; its destructor puts back what was installed before. For programs only, the library
/// itself touches no signals.
class StopSignal {
 public:
  StopSignal() {
    caught_ = 0;
    struct sigaction action = {};
    action.sa_handler = [](int signal) { caught_ = signal; };
    action.sa_flags = SA_RESETHAND | SA_RESTART;  // caught once; a read or write that it interrupts goes on
    ::sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < signals.size(); ++i) {
      ::sigaction(signals[i], nullptr, &before_[i]);
      if (before_[i].sa_handler != SIG_IGN) ::sigaction(signals[i], &action, nullptr);
    }
  }
  ~StopSignal() {
    for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &before_[i], nullptr);
  }
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Whether a signal has come.
  explicit operator bool() const { return caught_ != 0; }

  /// What a shell reports of a program that such a signal ended: 130 for Ctrl-C, 143 for SIGTERM.
  int exit_code() const { return 128 + caught_; }

 private:
  static constexpr std::array signals{SIGINT, SIGTERM, SIGHUP};
  static inline std::atomic<int> caught_ = 0;
  static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch nothing else");

  std::array<struct sigaction, signals.size()> before_{};
};
