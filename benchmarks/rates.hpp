// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <map>
#include <mutex>

#include "machine.hpp"

/// Counters of Google Benchmark programs: a rate, and its share of what the machine can do with as many threads.
namespace fathom::bench {

/// Measured when it is first asked for.
inline const MachineRates& machine(int threads) {
  static std::mutex mutex;
  static std::map<int, MachineRates> rates;
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = rates.try_emplace(threads);
  if (is_new) {
    cpu::Team team(threads);
    entry->second = MachineRates::measure(team);
  }
  return entry->second;
}

/// Made right before the loop of a benchmark and asked right behind it.
class Meter {
 public:
  explicit Meter(::benchmark::State& state) : state_(state) {}

  /// Floating-point operations of an iteration; `threads`: how many compute together.
  void flops(double count, int threads = 1) const { rate("FLOP/s", "of_sgemm", count, &MachineRates::sgemm, threads); }
  /// Bytes that an iteration reads and writes, each view once.
  void bytes(double count, int threads = 1) const { rate("B/s", "of_copy", count, &MachineRates::copy, threads); }

 private:
  void rate(const char* unit, const char* share, double count, double MachineRates::*limit, int threads) const {
    using benchmark::Counter;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    state_.counters[unit] = Counter(count, Counter::kIsIterationInvariantRate, Counter::kIs1000);
    state_.counters[share] = count * double(state_.iterations()) / seconds / (machine(threads).*limit);
  }

  ::benchmark::State& state_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace fathom::bench
