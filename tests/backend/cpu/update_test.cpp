// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/update.hpp>
#include <random>
#include <vector>

#include "guarded.hpp"

namespace update_test {

namespace cpu = fathom::cpu;

/// Runs `update(t, weight, gradient, first, second)` for 50 steps on n numbers with new gradients each, and
/// `naive(t, w, g, first, second)` on each number in double: the greatest difference of the weights.
template <class T, class Update, class Naive>
double compare(std::size_t n, Update update, Naive naive, bool cleared = false) {
  std::mt19937 random(static_cast<unsigned>(n));
  Guarded<T> w(n, random), first(n, T(0)), second(n, T(0));
  std::vector<double> expected(w.data(), w.data() + n), a(n, 0.0), b(n, 0.0);
  for (int t = 1; t <= 50; ++t) {
    Guarded<T> g(n, random);
    for (std::size_t i = 0; i < n; ++i) naive(t, expected[i], double{g[i]}, a[i], b[i]);
    const Guarded<T> before(g);
    update(t, w, g, first, second);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(g[i] == (cleared ? T(0) : before[i]));
    REQUIRE((g.intact() && first.intact() && second.intact()));
  }
  return difference(w, expected);
}

double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

TEMPLATE_TEST_CASE("optimizer steps equal their definitions over many steps", "[update]", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 8 ? 1e-12 : 2e-5;
  for (std::size_t n : {1, 7, 16, 45, 200}) {
    for (bool nesterov : {false, true})
      for (double beta : {0.0, 0.9}) {
        const cpu::SgdStep step{.rate = 0.02,
                                .beta = beta,
                                .decay = 0.1,
                                .nesterov = nesterov && beta > 0,
                                .gradient_scale = 0.5,
                                .clear_gradient = nesterov};
        CHECK(compare<T>(
                  n, [&](int, T* w, T* g, T* m, T*) { cpu::sgd_update(n, step, w, g, beta > 0 ? m : nullptr); },
                  [&](int, double& w, double g, double& m, double&) {
                    const double d = 0.5 * g + 0.1 * w;
                    m = beta * m + d;
                    w -= 0.02 * (step.nesterov ? d + beta * m : m);
                  },
                  step.clear_gradient) < tolerance);
      }
    for (bool decoupled : {false, true}) {
      const auto step = [&](int t) {
        return cpu::AdamStep{.rate = 0.01,
                             .beta1 = 0.9,
                             .beta2 = 0.98,
                             .epsilon = 1e-6,
                             .decay = 0.1,
                             .decoupled_decay = decoupled,
                             .correction1 = 1 - std::pow(0.9, t),
                             .correction2 = 1 - std::pow(0.98, t),
                             .gradient_scale = 0.5,
                             .clear_gradient = decoupled};
      };
      CHECK(compare<T>(
                n, [&](int t, T* w, T* g, T* m, T* v) { cpu::adam_update(n, step(t), w, g, m, v); },
                [&](int t, double& w, double g, double& m, double& v) {
                  g = 0.5 * g + (decoupled ? 0 : 0.1 * w);
                  if (decoupled) w *= 1 - 0.01 * 0.1;
                  m = 0.9 * m + 0.1 * g;
                  v = 0.98 * v + 0.02 * g * g;
                  w -= 0.01 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.98, t))) + 1e-6);
                },
                decoupled) < tolerance);
    }
    const cpu::LionStep lion{
        .rate = 1e-3, .beta1 = 0.9, .beta2 = 0.99, .decay = 0.1, .gradient_scale = 0.5, .clear_gradient = true};
    CHECK(compare<T>(
              n, [&](int, T* w, T* g, T* m, T*) { cpu::lion_update(n, lion, w, g, m); },
              [&](int, double& w, double g, double& m, double&) {
                w = w * (1 - 1e-3 * 0.1) - 1e-3 * sign(0.9 * m + 0.1 * 0.5 * g);
                m = 0.99 * m + 0.01 * 0.5 * g;
              },
              true) < tolerance);
  }
}

TEST_CASE("a zero moment and gradient leave the weight of Lion, a NaN does not", "[update]") {
  float w[2] = {1, 1}, g[2] = {0, std::nanf("")}, m[2] = {0, 0};
  cpu::lion_update(2, {.rate = 0.5}, w, g, m);
  CHECK(w[0] == 1);
  CHECK(std::isnan(w[1]));
}

TEMPLATE_TEST_CASE("the sum of squares is exact to rounding for every length", "[update]", float, double) {
  using T = TestType;
  std::mt19937 random(3);
  for (std::size_t n : {0, 1, 15, 64, 67, 4095, 4096, 4097, 30011}) {
    const Guarded<T> x(n, random);
    double expected = 0;
    for (std::size_t i = 0; i < n; ++i) expected += double{x[i]} * double{x[i]};
    CHECK(std::abs(cpu::sum_of_squares<T>(n, x) - expected) <= (sizeof(T) == 8 ? 1e-13 : 1e-6) * expected);
  }
  Guarded<T> bad(100, random);
  bad[99] = std::numeric_limits<T>::quiet_NaN();
  CHECK(std::isnan(cpu::sum_of_squares<T>(100, bad)));
}

TEMPLATE_TEST_CASE("simple passes", "[update]", float, double) {
  using T = TestType;
  std::mt19937 random(4);
  for (std::size_t n : {1, 8, 19, 130}) {
    const Guarded<T> x(n, random);
    Guarded<T> y(n, random), average(y);
    std::vector<double> sum(n), mean(n);
    for (std::size_t i = 0; i < n; ++i) {
      sum[i] = double{y[i]} + 0.75 * x[i];
      mean[i] = 0.9 * y[i] + 0.1 * x[i];
    }
    cpu::axpy<T>(n, T(0.75), x, y);
    cpu::average_update<T>(n, 0.9, x, average);
    const double tolerance = sizeof(T) == 8 ? 1e-15 : 2e-7;
    CHECK(difference(y, sum) < tolerance);
    CHECK(difference(average, mean) < tolerance);
  }
}

}  // namespace update_test
