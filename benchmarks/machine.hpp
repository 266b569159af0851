// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fathom/backend/cpu/matmul/native.hpp>
#include <fathom/backend/cpu/simd.hpp>
#include <fathom/backend/cpu/team.hpp>
#include <fathom/backend/cpu/update.hpp>
#include <fathom/core/buffer.hpp>
#include <memory>
#include <utility>
#include <vector>

/// What the machine can do, measured: the limits that benchmarks hold their figures against.
namespace fathom::bench {

/// Numbers that are neither denormal nor growing, aligned as all memory of the library is.
template <class T>
struct NumbersOf : Buffer<T> {
  explicit NumbersOf(std::size_t count) : Buffer<T>(std::int64_t(count)) {
    for (std::size_t i = 0; i < count; ++i) this->data()[i] = T(float(i * 7919 % 1000) / 1000.0f - 0.5f);
  }
};
using Numbers = NumbersOf<float>;

template <class F>
double seconds_of(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// Calls per second of `f(thread)` on all threads of a team at once: the median of several windows of `window` seconds,
/// after one window that warms up.
template <class F>
double calls_per_second(cpu::Team& team, F&& f, double window = 0.01, int windows = 9) {
  const auto run = [&](int calls) {
    return seconds_of([&] {
      team.run([&](int thread) {
        for (int call = 0; call < calls; ++call) f(thread);
      });
    });
  };
  int calls = 1;
  for (double seconds = 0; (seconds = run(calls)) < window;
       calls = int(calls * std::clamp(window / seconds, 1.5, 10.0)) + 1) {
  }
  std::vector<double> rates;
  for (int i = 0; i < windows; ++i) rates.push_back(calls / run(calls));
  return median(rates);
}

/// Independent chains of fma in registers: what no product can exceed.
inline void fma_chains() {
  constexpr int chains = 12, depth = 1000;
  const cpu::Simd<float> x = cpu::broadcast(0.5f);
  cpu::Simd<float> sum[chains];
  for (int c = 0; c < chains; ++c) sum[c] = cpu::broadcast(float(c));
  for (int i = 0; i < depth; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < chains; ++c) sum[c] = cpu::fma(sum[c], x, x);
  }
  for (int c = 0; c < chains; ++c) asm volatile("" : : "m"(sum[c]));
}
inline constexpr double fma_chains_flops = 2.0 * 12 * 1000 * double(cpu::simd_width<float>);

/// Rates of all threads of a team together.
struct MachineRates {
  double fma = 0;          ///< FLOP/s in registers
  double sgemm = 0;        ///< FLOP/s of a product whose operands stay in the cache of its core
  double copy = 0;         ///< bytes/s, read and written, of a pass over memory
  double cached_copy = 0;  ///< the same within the second-level caches

  static MachineRates measure(cpu::Team& team) {
    MachineRates rates;
    const double threads = team.size();
    rates.fma = threads * fma_chains_flops * calls_per_second(team, [](int) { fma_chains(); });

    constexpr std::size_t side = 256;
    const cpu::MatmulSize size{side, side, side};
    std::vector<std::unique_ptr<Numbers>> a, b, c, scratch;
    for (int thread = 0; thread < team.size(); ++thread) {
      for (auto* square : {&a, &b, &c}) square->push_back(std::make_unique<Numbers>(side * side));
      scratch.push_back(std::make_unique<Numbers>(cpu::Native::scratch_size<float>(size)));
    }
    const double flops = 2.0 * side * side * side;
    rates.sgemm =
        threads * flops * calls_per_second(team, [&](int thread) {
          cpu::Native::input_gradient<float>(size, {a[thread]->data(), side}, {b[thread]->data(), side}, {nullptr, 0},
                                             0, {c[thread]->data(), side}, scratch[thread]->data());
        });

    rates.copy = stream(team, 16u << 20, 0.05);
    rates.cached_copy = stream(team, 32u << 10, 0.01);
    return rates;
  }

 private:
  /// The better of y = x and y += x / 2, on arrays of `count` numbers for every thread.
  static double stream(cpu::Team& team, std::size_t count, double window) {
    std::vector<std::unique_ptr<Numbers>> from, to;
    for (int thread = 0; thread < team.size(); ++thread)
      for (auto* arrays : {&from, &to}) arrays->push_back(std::make_unique<Numbers>(count));
    const double bytes = double(team.size()) * double(count) * sizeof(float);
    const double copies = calls_per_second(
        team,
        [&](int thread) {
          std::memcpy(to[thread]->data(), from[thread]->data(), count * sizeof(float));
          asm volatile("" : : "r"(to[thread]->data()) : "memory");
        },
        window);
    const double additions = calls_per_second(
        team, [&](int thread) { cpu::axpy(count, 0.5f, from[thread]->data(), to[thread]->data()); }, window);
    return bytes * std::max(2 * copies, 3 * additions);
  }
};

}  // namespace fathom::bench
