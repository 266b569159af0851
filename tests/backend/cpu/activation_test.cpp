// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/activation.hpp>
#include <numbers>
#include <random>
#include <vector>

#include "guarded.hpp"

namespace activation_test {

namespace cpu = fathom::cpu;

double naive(cpu::ReluKernel, double x) { return x > 0 ? x : 0; }
double naive(cpu::GeluKernel, double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }
double naive(cpu::GeluTanhKernel, double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
double naive(cpu::SiluKernel, double x) { return x / (1 + std::exp(-x)); }

template <class Activation>
double slope(Activation act, double x) {
  const double step = 1e-5;
  return (naive(act, x + step) - naive(act, x - step)) / (2 * step);
}

template <class T>
constexpr double tolerance = sizeof(T) == 8 ? 1e-14 : 2e-6;
template <class T>
constexpr double slope_tolerance = sizeof(T) == 8 ? 2e-9 : 3e-6;  // the reference is a central difference

template <class T, class Activation>
void check(Activation act) {
  for (std::size_t n : {1, 5, 8, 16, 33, 400}) {
    INFO("n " << n);
    std::mt19937 random(static_cast<unsigned>(n));
    Guarded<T> h(n, random, 2), da(n, random), a(n), dh(n), a_again(n), up_da(n, random);
    std::vector<double> value(n), gradient(n);
    for (std::size_t i = 0; i < n; ++i) {
      if (std::abs(h[i]) < T(1e-3)) h[i] = 1;  // away from the corner of ReLU
      value[i] = naive(act, double{h[i]});
      gradient[i] = da[i] * slope(act, double{h[i]});
    }
    cpu::activation_forward<Activation, T>(n, h, a);
    CHECK(difference(a, value) < tolerance<T>);
    cpu::activation_backward<Activation, T>(n, h, da, dh, a_again);
    CHECK(difference(a_again, value) < tolerance<T>);
    CHECK(difference(dh, gradient) < slope_tolerance<T>);

    Guarded<T> in_place(da);
    cpu::activation_backward<Activation, T>(n, h, in_place, in_place, a_again);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(in_place[i] == dh[i]);

    // The gated form, three rows of n.
    Guarded<T> pair(6 * n, random, 2), d(3 * n, random), gated(3 * n), gated_again(3 * n), dpair(6 * n);
    std::vector<double> product(3 * n), dboth(6 * n);
    for (std::size_t r = 0; r < 3; ++r)
      for (std::size_t i = 0; i < n; ++i) {
        T& gate = pair[2 * r * n + i];
        if (std::abs(gate) < T(1e-3)) gate = 1;
        const double up = pair[(2 * r + 1) * n + i], g = d[r * n + i];
        product[r * n + i] = naive(act, double{gate}) * up;
        dboth[2 * r * n + i] = g * up * slope(act, double{gate});
        dboth[(2 * r + 1) * n + i] = g * naive(act, double{gate});
      }
    cpu::gated_forward<Activation, T>(3, n, pair, gated);
    CHECK(difference(gated, product) < 4 * tolerance<T>);
    cpu::gated_backward<Activation, T>(3, n, pair, d, dpair, gated_again);
    CHECK(difference(gated_again, product) < 4 * tolerance<T>);
    CHECK(difference(dpair, dboth) < 4 * slope_tolerance<T>);
    cpu::gated_backward<Activation, T>(3, n, pair, d, pair, d);
    for (std::size_t i = 0; i < 6 * n; ++i) REQUIRE(pair[i] == dpair[i]);
    for (std::size_t i = 0; i < 3 * n; ++i) REQUIRE(d[i] == gated[i]);
  }
  const Guarded<T> nan(1);
  Guarded<T> a(1, T(0));
  cpu::activation_forward<Activation, T>(1, nan, a);
  CHECK(std::isnan(a[0]));
}

TEMPLATE_TEST_CASE("activations and their gradients equal the naive formulas", "[activation]", float, double) {
  check<TestType>(cpu::ReluKernel{});
  check<TestType>(cpu::GeluKernel{});
  check<TestType>(cpu::GeluTanhKernel{});
  check<TestType>(cpu::SiluKernel{});
}

TEST_CASE("activations of large numbers are finite", "[activation]") {
  const auto forward = [](auto act, float x) { return act.at(cpu::broadcast(x)); };
  for (float x : {-1e4f, -200.0f, 200.0f, 1e4f}) {
    const float expected = x > 0 ? x : 0;
    const auto both = [&](auto act) {
      CHECK(forward(act, x).value[0] == expected);
      CHECK(forward(act, x).slope[0] == (x > 0 ? 1.0f : 0.0f));
    };
    both(cpu::ReluKernel{});
    both(cpu::GeluKernel{});
    both(cpu::GeluTanhKernel{});
    both(cpu::SiluKernel{});
  }
}

}  // namespace activation_test
