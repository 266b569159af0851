// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <limits>
#include <numbers>
#include <string>

/// Learning rate schedules: pure functions from the update's number to its rate, so that a resumed run needs no state.
///
/// Steps      the first update is step 1; a step below 1 throws Error, because someone counts from 0.
/// Rates      absolute, not factors; constant expressions wherever no sqrt or cos is taken.
/// Errors     a constructor throws Error on rates or lengths that make no sense, naming the schedule and the rule.
namespace fathom::inline FATHOM_ABI {

/// The learning rate of update `step`, step >= 1.
template <class S>
concept Schedule = std::copyable<S> && requires(const S& schedule, std::int64_t step) {
  { schedule(step) } -> std::same_as<double>;
};

namespace detail {

constexpr void check_schedule(bool condition, const char* schedule, const char* rule) {
  if (!condition) throw Error(std::string(schedule) + ": " + rule);
}

/// 0 <= lowest <= peak, and neither of them NaN or infinite.
constexpr void check_schedule_rates(const char* schedule, double lowest, double peak) {
  check_schedule(lowest >= 0 && lowest <= peak && peak <= std::numeric_limits<double>::max(), schedule,
                 "rates must be finite and satisfy 0 <= lowest <= peak");
}

constexpr double checked_step(std::int64_t step) {
  check_schedule(step >= 1, "schedule", "the first update is step 1, so count from 1");
  return static_cast<double>(step);
}

}  // namespace detail

/// The same rate always.
class Constant {
 public:
  constexpr explicit Constant(double rate) : rate_(rate) { detail::check_schedule_rates("Constant", rate, rate); }

  constexpr double operator()(std::int64_t step) const {
    detail::checked_step(step);
    return rate_;
  }

 private:
  double rate_;
};

/// Linear warm-up over W steps from an initial rate to the peak, then the inverse square root of the step:
///   i < W:  initial + (peak - initial) i / W        i >= W:  peak sqrt(W / i)
/// Source: Vaswani et al. 2017, arXiv:1706.03762, section 5.3, in the form DeepNet's tables use (arXiv:2203.00555,
/// Appendix: initial rate 1e-7, peak and W given).
class InverseSquareRoot {
 public:
  struct Options {
    double peak;
    std::int64_t warmup_steps;
    double initial = 1e-7;
  };

  constexpr explicit InverseSquareRoot(const Options& options) : options_(options) {
    detail::check_schedule_rates("InverseSquareRoot", options.initial, options.peak);
    detail::check_schedule(options.warmup_steps >= 1, "InverseSquareRoot", "warmup_steps must be at least 1");
  }

  constexpr double operator()(std::int64_t step) const {
    const auto& [peak, warmup_steps, initial] = options_;
    const double i = detail::checked_step(step), warmup = static_cast<double>(warmup_steps);
    if (step < warmup_steps) return initial + (peak - initial) * i / warmup;
    return peak * std::sqrt(warmup / i);
  }

 private:
  Options options_;
};

/// Linear warm-up over W updates, then half a cosine down to the minimum, which update T + 1 reaches and keeps:
///   i <= W:  peak i / (W + 1)        i > W:  minimum + (peak - minimum) (1 + cos(pi (i - 1 - W) / (T - W))) / 2
/// Source: get_lr in nanoGPT's train.py (W = warmup_iters, T = lr_decay_iters; it counts updates from 0, so i - 1
/// there); the cosine is Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5.
class Cosine {
 public:
  struct Options {
    double peak;
    std::int64_t total_steps;
    std::int64_t warmup_steps = 0;
    double minimum = 0;
  };

  constexpr explicit Cosine(const Options& options) : options_(options) {
    detail::check_schedule_rates("Cosine", options.minimum, options.peak);
    detail::check_schedule(options.warmup_steps >= 0 && options.warmup_steps < options.total_steps, "Cosine",
                           "lengths must satisfy 0 <= warmup_steps < total_steps");
  }

  constexpr double operator()(std::int64_t step) const {
    const auto& [peak, total_steps, warmup_steps, minimum] = options_;
    const double i = detail::checked_step(step), warmup = static_cast<double>(warmup_steps);
    if (step <= warmup_steps) return peak * i / (warmup + 1);
    if (step > total_steps) return minimum;
    const double progress = (i - 1 - warmup) / (static_cast<double>(total_steps) - warmup);
    return minimum + (peak - minimum) * (1 + std::cos(std::numbers::pi * progress)) / 2;
  }

 private:
  Options options_;
};

/// Linear warm-up over W updates, the peak, then over the last D of T updates a decay to the minimum, which update T
/// reaches and later ones keep. With t = (i - (T - D)) / D:
///   i < W:  peak i / W        i <= T - D:  peak        else:  minimum + (peak - minimum) (1 - t  or  1 - sqrt(t))
/// Source: Hu et al. 2024 (MiniCPM), arXiv:2404.06395; the shapes: Hägele et al. 2024, arXiv:2405.18392, who find
/// 1 - sqrt the better one.
class WarmupStableDecay {
 public:
  enum class Shape { linear, one_minus_sqrt };

  struct Options {
    double peak;
    std::int64_t total_steps;
    std::int64_t decay_steps;
    std::int64_t warmup_steps = 0;
    double minimum = 0;
    Shape shape = Shape::one_minus_sqrt;
  };

  constexpr explicit WarmupStableDecay(const Options& options) : options_(options) {
    detail::check_schedule_rates("WarmupStableDecay", options.minimum, options.peak);
    detail::check_schedule(
        options.warmup_steps >= 0 && options.decay_steps >= 1 &&
            options.warmup_steps <= options.total_steps - options.decay_steps,
        "WarmupStableDecay",
        "lengths must satisfy 0 <= warmup_steps, 1 <= decay_steps, warmup_steps + decay_steps <= total_steps");
  }

  constexpr double operator()(std::int64_t step) const {
    const auto& [peak, total_steps, decay_steps, warmup_steps, minimum, shape] = options_;
    const double i = detail::checked_step(step);
    if (step < warmup_steps) return peak * i / static_cast<double>(warmup_steps);
    if (step <= total_steps - decay_steps) return peak;
    if (step >= total_steps) return minimum;
    const double progress = (i - static_cast<double>(total_steps - decay_steps)) / static_cast<double>(decay_steps);
    return minimum + (peak - minimum) * (1 - (shape == Shape::linear ? progress : std::sqrt(progress)));
  }

 private:
  Options options_;
};

}  // namespace fathom::inline FATHOM_ABI
