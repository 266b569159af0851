// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <fathom/backend/cpu/math.hpp>
#include <limits>
#include <numbers>

namespace math_test {

namespace cpu = fathom::cpu;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// One lane of f(x, …, x). (Not inlined, because g++ 12 crashes on many of them with constant arguments.)
template <class F>
[[gnu::noinline]] auto at(F f, float x) {
  return f(cpu::broadcast(x))[0];
}

double ulp(double x) {
  const double smallest = std::numeric_limits<float>::min();
  return std::exp2(std::floor(std::log2(std::max(std::abs(x), smallest))) - 23);
}

/// The greatest error in ulp over every `step`-th float of [low, high] of each sign asked for; results below `floor` in
/// magnitude must only be as small in f.
template <class F, class Reference>
double worst_ulp(F f, Reference reference, float low, float high, std::uint32_t step, bool negative, double floor = 0) {
  constexpr std::size_t width = cpu::simd_width<float>;
  double worst = 0;
  float x[width];
  for (std::uint32_t bits = std::bit_cast<std::uint32_t>(low); bits <= std::bit_cast<std::uint32_t>(high);) {
    for (float& lane : x) {
      lane = negative ? -std::bit_cast<float>(bits) : std::bit_cast<float>(bits);
      bits += step;
    }
    const auto y = f(cpu::load(x));
    for (std::size_t i = 0; i < width; ++i) {
      const double expected = reference(double{x[i]});
      if (std::abs(expected) < floor) {
        if (!(std::abs(double{y[i]}) <= 1.01 * floor)) worst = infinity;
      } else if (static_cast<float>(expected) != y[i]) {
        worst = std::max(worst, std::abs(y[i] - expected) / ulp(expected));
      }
    }
  }
  return worst;
}

const auto exp_lanes = [](auto x) { return cpu::exp(x); };
const auto exp2_lanes = [](auto x) { return cpu::exp2(x); };
const auto log_lanes = [](auto x) { return cpu::log(x); };
const auto tanh_lanes = [](auto x) { return cpu::tanh(x); };
const auto erf_lanes = [](auto x) { return cpu::erf(x); };
const auto sigmoid_lanes = [](auto x) { return cpu::sigmoid(x); };
const auto cumulative_lanes = [](auto x) { return cpu::normal(x).cumulative; };
const auto density_lanes = [](auto x) { return cpu::normal(x).density; };

#if defined(__FMA__)
constexpr double slack = 1.0;
#else
constexpr double slack = 1.6;  // two roundings for each multiply-add
#endif
constexpr std::uint32_t step = 1009;
constexpr double flushed = 0x1p-125;

TEST_CASE("exp and exp2 are accurate over the whole range", "[math]") {
  const auto reference = [](double x) { return std::exp(x); };
  CHECK(worst_ulp(exp_lanes, reference, 0, 88.72f, step, false) < 1.3 * slack);
  CHECK(worst_ulp(exp_lanes, reference, 0, 200, step, true, flushed) < 1.3 * slack);
  const auto reference2 = [](double x) { return std::exp2(x); };
  CHECK(worst_ulp(exp2_lanes, reference2, 0, 127.99f, step, false) < 1.3 * slack);
  CHECK(worst_ulp(exp2_lanes, reference2, 0, 1000, step, true, flushed) < 1.3 * slack);
}

TEST_CASE("log is accurate for every positive number", "[math]") {
  CHECK(worst_ulp(log_lanes, [](double x) { return std::log(x); }, 1e-45f, 3.4e38f, step, false) < 1.2 * slack);
}

TEST_CASE("tanh, erf and sigmoid are accurate", "[math]") {
  for (bool negative : {false, true}) {
    CHECK(worst_ulp(tanh_lanes, [](double x) { return std::tanh(x); }, 0, 100, step, negative) < 2.5 * slack);
    CHECK(worst_ulp(erf_lanes, [](double x) { return std::erf(x); }, 0, 100, step, negative) < 3.0 * slack);
    CHECK(worst_ulp(
              sigmoid_lanes, [](double x) { return 1 / (1 + std::exp(-x)); }, 0, 100, step, negative, flushed) <
          3.0 * slack);
  }
}

TEST_CASE("normal gives the distribution and its density", "[math]") {
  double absolute = 0, relative = 0;
  for (float x = -12; x < 12; x += 0.001f) {
    const auto [cumulative, density] = cpu::normal(cpu::broadcast(x));
    const double expected = 0.5 * std::erfc(-double{x} / std::numbers::sqrt2);
    const double bell = std::exp(-0.5 * double{x} * x) / std::sqrt(2 * std::numbers::pi);
    absolute = std::max({absolute, std::abs(cumulative[0] - expected), std::abs(density[0] - bell)});
    if (x > -5) relative = std::max(relative, std::abs(cumulative[0] / expected - 1));
  }
  CHECK(absolute < 2e-7);
  CHECK(relative < 2e-5);
}

TEST_CASE("limits and NaN come out as they must", "[math]") {
  CHECK(at(exp_lanes, infinity) == infinity);
  CHECK(at(exp_lanes, 89.0f) == infinity);
  CHECK(at(exp_lanes, -infinity) == 0.0f);
  CHECK(at(exp_lanes, 0.0f) == 1.0f);
  CHECK(at(exp2_lanes, 128.0f) == infinity);
  CHECK(at(exp2_lanes, infinity) == infinity);
  CHECK(at(exp2_lanes, -infinity) == 0.0f);
  CHECK(at(exp2_lanes, std::numeric_limits<float>::lowest()) == 0.0f);
  CHECK(at(exp2_lanes, 10.0f) == 1024.0f);
  CHECK(at(log_lanes, infinity) == infinity);
  CHECK(at(log_lanes, 0.0f) == -infinity);
  CHECK(at(log_lanes, 1.0f) == 0.0f);
  CHECK(std::isnan(at(log_lanes, -1.0f)));
  CHECK(std::isnan(at(log_lanes, -infinity)));
  CHECK(at(tanh_lanes, infinity) == 1.0f);
  CHECK(at(tanh_lanes, -infinity) == -1.0f);
  CHECK(at(erf_lanes, infinity) == 1.0f);
  CHECK(at(erf_lanes, -infinity) == -1.0f);
  CHECK(at(sigmoid_lanes, infinity) == 1.0f);
  CHECK(at(sigmoid_lanes, -infinity) == 0.0f);
  for (float nan : {not_a_number, -not_a_number, std::bit_cast<float>(0x7f800001u)}) {
    CHECK(std::isnan(at(exp_lanes, nan)));
    CHECK(std::isnan(at(exp2_lanes, nan)));
    CHECK(std::isnan(at(log_lanes, nan)));
    CHECK(std::isnan(at(tanh_lanes, nan)));
    CHECK(std::isnan(at(erf_lanes, nan)));
    CHECK(std::isnan(at(sigmoid_lanes, nan)));
    CHECK(std::isnan(at(cumulative_lanes, nan)));
    CHECK(std::isnan(at(density_lanes, nan)));
  }
}

TEST_CASE("in double the functions are the C library's", "[math]") {
  for (double x : {-700.0, -3.25, -1e-9, 0.0, 0.1, 0.7, 2.0, 30.0}) {
    const auto v = cpu::broadcast(x);
    CHECK(cpu::exp(v)[0] == std::exp(x));
    CHECK(cpu::exp2(v)[0] == std::exp2(x));
    CHECK(cpu::tanh(v)[0] == std::tanh(x));
    CHECK(cpu::erf(v)[0] == std::erf(x));
    CHECK(cpu::sigmoid(v)[0] == 1 / (1 + std::exp(-x)));
    CHECK(std::abs(cpu::normal(v).cumulative[0] - 0.5 * std::erfc(-x / std::numbers::sqrt2)) < 1e-16);
  }
  CHECK(cpu::log(cpu::broadcast(0.3))[0] == std::log(0.3));
}

}  // namespace math_test
