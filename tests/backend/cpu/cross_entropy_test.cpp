// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cross_entropy.hpp>
#include <limits>
#include <random>
#include <vector>

#include "guarded.hpp"

namespace cross_entropy_test {

namespace cpu = fathom::cpu;

TEMPLATE_TEST_CASE("cross-entropy and its gradient equal the naive formulas", "[cross_entropy]", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 8 ? 1e-13 : 3e-5;
  std::mt19937 random(7);
  for (std::size_t width : {1, 2, 7, 16, 33, 257, 4096, 5003})
    for (double offset : {0.0, 1e2, -1e2}) {
      INFO("width " << width << ", offset " << offset);
      const cpu::CrossEntropy<T> options{T(0.1), T(1e-3)};
      const std::size_t target = random() % width;
      Guarded<T> logits(width, random, 3, offset);
      double lse = 0, mean = 0;
      for (std::size_t i = 0; i < width; ++i) {
        lse += std::exp(logits[i] - offset);
        mean += logits[i] / static_cast<double>(width);
      }
      lse = std::log(lse) + offset;
      const double z = lse * lse;
      const auto equal = [&](double actual, double expected) {
        CHECK(std::abs(actual - expected) < tolerance * std::max({1.0, std::abs(offset) / 10, std::abs(expected)}));
      };
      std::vector<double> gradient(width);
      const double scale = 0.125, smoothing = options.smoothing;
      for (std::size_t i = 0; i < width; ++i)
        gradient[i] = scale * (std::exp(logits[i] - lse) * (1 + 2 * options.z_loss * lse) -
                               smoothing / static_cast<double>(width) - (i == target ? 1 - smoothing : 0));
      const Guarded<T> before(logits);
      const auto alone = cpu::cross_entropy<T>(width, logits, static_cast<std::int64_t>(target));
      REQUIRE(logits[target] == before[target]);
      const auto parts =
          cpu::cross_entropy_backward<T>(width, logits, static_cast<std::int64_t>(target), T(scale), options);
      equal(parts.likelihood, lse - before[target]);
      equal(parts.smooth, lse - mean);
      equal(parts.z, z);
      CHECK(parts.likelihood == alone.likelihood);
      CHECK(parts.smooth == alone.smooth);
      CHECK(parts.z == alone.z);
      CHECK(difference(logits, gradient) < tolerance);
    }
}

TEST_CASE("an ignored row gives no loss and a zero gradient, even from NaN", "[cross_entropy]") {
  Guarded<float> logits(37);
  const auto parts = cpu::cross_entropy_backward<float>(37, logits, -1, 1.0f, {0.1f, 0.1f});
  CHECK(parts.likelihood == 0);
  CHECK(parts.smooth == 0);
  CHECK(parts.z == 0);
  CHECK(difference(logits, std::vector<double>(37, 0.0)) == 0);
  CHECK(cpu::cross_entropy<float>(37, Guarded<float>(37), -1).likelihood == 0);
}

TEST_CASE("a NaN or an infinity among the logits reaches loss and gradient", "[cross_entropy]") {
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()})
    for (std::size_t where : {0, 20, 34}) {
      Guarded<float> logits(35, 1.0f);
      logits[where] = bad;
      const auto parts = cpu::cross_entropy_backward<float>(35, logits, 3, 1.0f);
      CHECK(std::isnan(parts.likelihood));
      for (std::size_t i = 0; i < 35; ++i) CHECK(std::isnan(logits[i]));
    }
}

}  // namespace cross_entropy_test
