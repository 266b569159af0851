// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/norm.hpp>
#include <random>
#include <vector>

#include "guarded.hpp"

namespace norm_test {

namespace cpu = fathom::cpu;
using fathom::NormKind;

template <class T>
constexpr double tolerance = sizeof(T) == 8 ? 2e-13 : 2e-5;

/// The norm of every row and its gradients, in double.
struct Expected {
  std::vector<double> y, mean, rstd, dz, dgain, dbias;
};

template <class T>
Expected expect(NormKind kind, std::size_t rows, std::size_t width, double epsilon, const std::vector<double>& z,
                const T* gain, const T* bias, const T* dy) {
  Expected e{std::vector<double>(rows * width), std::vector<double>(rows),  std::vector<double>(rows),
             std::vector<double>(rows * width), std::vector<double>(width), std::vector<double>(width)};
  const double n = static_cast<double>(width);
  for (std::size_t r = 0; r < rows; ++r) {
    const double* row = &z[r * width];
    double mean = 0, variance = 0, g_sum = 0, product = 0;
    for (std::size_t i = 0; i < width; ++i) mean += kind == NormKind::layer ? row[i] / n : 0;
    for (std::size_t i = 0; i < width; ++i) variance += (row[i] - mean) * (row[i] - mean) / n;
    const double rstd = 1 / std::sqrt(variance + epsilon);
    for (std::size_t i = 0; i < width; ++i) {
      const double x = (row[i] - mean) * rstd, d = dy[r * width + i];
      e.y[r * width + i] = x * gain[i] + (bias ? double{bias[i]} : 0);
      e.dgain[i] += d * x;
      e.dbias[i] += d;
      g_sum += kind == NormKind::layer ? d * gain[i] / n : 0;
      product += d * gain[i] * x / n;
    }
    for (std::size_t i = 0; i < width; ++i)
      e.dz[r * width + i] = rstd * (double{dy[r * width + i]} * gain[i] - g_sum - (row[i] - mean) * rstd * product);
    e.mean[r] = mean;
    e.rstd[r] = rstd;
  }
  return e;
}

std::vector<double> plus(std::vector<double> v, double x) {
  for (double& number : v) number += x;
  return v;
}

template <class T, NormKind kind>
void check(std::size_t rows, std::size_t width, bool with_bias) {
  INFO("rows " << rows << ", width " << width << ", bias " << with_bias);
  std::mt19937 random(static_cast<unsigned>(rows * 1000 + width));
  const std::size_t n = rows * width;
  const T epsilon = T(0.1), a = T(2.25);
  Guarded<T> x(n, random, 1, 3), f(n, random), dy(n, random), skip(n, random), gain(width, random, 0.3, 1),
      bias(width, random), scales(width, random);
  const T* b = with_bias ? bias.data() : nullptr;
  Guarded<T> y(n), z(n), mean(rows), rstd(rows);
  T* saved_mean = kind == NormKind::layer ? mean.data() : nullptr;

  // Alone.
  std::vector<double> input(x.data(), x.data() + n);
  Expected e = expect<T>(kind, rows, width, epsilon, input, gain, b, dy);
  cpu::norm_forward<kind, T, T>(rows, width, epsilon, gain, b, x, static_cast<T*>(y), saved_mean, rstd);
  CHECK(difference(y, e.y) < tolerance<T>);
  if (saved_mean) CHECK(difference(mean, e.mean) < tolerance<T>);
  CHECK(difference(rstd, e.rstd) < tolerance<T>);

  Guarded<T> dx(n), dgain(width, T(1)), dbias(width, T(2));
  T* db = with_bias ? dbias.data() : nullptr;
  const cpu::NormSaved<T> saved{x, saved_mean, rstd};
  cpu::norm_backward<kind, T, T>(rows, width, saved, gain, dy, dx, dgain, db);
  CHECK(difference(dx, e.dz) < tolerance<T>);
  CHECK(difference(dgain, plus(e.dgain, 1)) < tolerance<T>);
  CHECK(difference(dbias, with_bias ? plus(e.dbias, 2) : std::vector<double>(width, 2)) < tolerance<T>);

  // After a skip connection.
  std::vector<double> with_skip = e.dz;
  for (std::size_t i = 0; i < n; ++i) with_skip[i] += 3 * double{skip[i]};
  Guarded<T> dx_skip(n), dgain_skip(width, T(1)), dbias_skip(width, T(2));
  cpu::norm_backward_with_skip<kind, T, T>(rows, width, saved, gain, dy, skip, T(3), dx_skip, dgain_skip,
                                           with_bias ? dbias_skip.data() : nullptr);
  CHECK(difference(dx_skip, with_skip) < tolerance<T>);
  CHECK(difference(dgain_skip, plus(e.dgain, 1)) < tolerance<T>);

  // Joined, with one scale and with one for each column.
  const auto joined = [&](auto scale, auto scale_of) {
    for (std::size_t i = 0; i < n; ++i) input[i] = double{scale_of(i % width)} * x[i] + f[i];
    e = expect<T>(kind, rows, width, epsilon, input, gain, b, dy);
    Guarded<T> z_out(n), y_out(n), dz(n), df(n), dg(width, T(0)), dbb(width, T(0));
    cpu::residual_add_norm_forward<kind, T, T, T>(rows, width, epsilon, gain, b, scale, x, f, z_out,
                                                  static_cast<T*>(y_out), saved_mean, rstd);
    CHECK(difference(z_out, input) < tolerance<T>);
    CHECK(difference(y_out, e.y) < tolerance<T>);
    cpu::residual_add_norm_backward<kind, T, T, T>(rows, width, {z_out, saved_mean, rstd}, gain, T(0.75), dy, dz, df,
                                                   dg, with_bias ? dbb.data() : nullptr);
    CHECK(difference(dz, e.dz) < tolerance<T>);
    std::vector<double> scaled = e.dz;
    for (double& value : scaled) value *= 0.75;
    CHECK(difference(df, scaled) < tolerance<T>);
    CHECK(difference(dg, e.dgain) < tolerance<T>);
  };
  joined(cpu::Everywhere<T>{a}, [&](std::size_t) { return a; });
  joined(cpu::PerColumn<T>{scales, T(1)}, [&](std::size_t i) { return scales[i]; });
}

TEMPLATE_TEST_CASE("norms equal the naive formulas", "[norm]", float, double) {
  for (std::size_t width : {1, 2, 7, 8, 16, 31, 64, 97, 256, 1021})
    for (std::size_t rows : {1, 3, 4, 9}) {
      check<TestType, NormKind::layer>(rows, width, true);
      check<TestType, NormKind::rms>(rows, width, false);
    }
  check<TestType, NormKind::layer>(5, 48, false);
  check<TestType, NormKind::rms>(5, 48, true);
}

TEST_CASE("the variance of a row far from zero is not cancelled away", "[norm]") {
  const std::size_t width = 300;
  std::vector<float> x(width), y(width), gain(width, 1);
  for (std::size_t i = 0; i < width; ++i) x[i] = 4096.0f + static_cast<float>(i % 2);
  float mean, rstd;
  cpu::norm_forward<NormKind::layer, float, float>(1, width, 0.0f, gain.data(), nullptr, x.data(), y.data(), &mean,
                                                   &rstd);
  CHECK(std::abs(rstd - 2) < 1e-3);
}

TEST_CASE("norm gradients do not depend on how rows are cut, and may be written in place", "[norm]") {
  std::mt19937 random(1);
  const std::size_t rows = 11, width = 75;
  Guarded<float> x(rows * width, random), dy(rows * width, random), gain(width, random), mean(rows), rstd(rows), y(x);
  cpu::norm_forward<NormKind::layer, float, float>(rows, width, 1e-5f, gain, nullptr, y, static_cast<float*>(y), mean,
                                                   rstd);
  Guarded<float> dx(rows * width), dgain(width, 0.0f), dbias(width, 0.0f), dgain_cut(dgain), dbias_cut(dbias),
      dx_cut(dy);
  cpu::norm_backward<NormKind::layer, float, float>(rows, width, {x, mean, rstd}, gain, dy, dx, dgain, dbias);
  for (std::size_t from : {0, 3, 8}) {
    const std::size_t count = from == 0 ? 3 : from == 3 ? 5 : 3, at = from * width;
    cpu::norm_backward<NormKind::layer, float, float>(count, width, {x + at, mean + from, rstd + from}, gain,
                                                      dx_cut + at, dx_cut + at, dgain_cut, dbias_cut);
  }
  for (std::size_t i = 0; i < rows * width; ++i) REQUIRE(dx[i] == dx_cut[i]);
  for (std::size_t i = 0; i < width; ++i) REQUIRE((dgain[i] == dgain_cut[i] && dbias[i] == dbias_cut[i]));
}

TEST_CASE("one NaN or infinity makes its whole row NaN", "[norm]") {
  for (float bad : {std::nanf(""), INFINITY}) {
    std::vector<float> x(70, 1), y(70), gain(70, 1);
    x[67] = bad;
    float mean, rstd;
    cpu::norm_forward<NormKind::layer, float, float>(1, 70, 1e-5f, gain.data(), nullptr, x.data(), y.data(), &mean,
                                                     &rstd);
    for (float number : y) REQUIRE(std::isnan(number));
  }
}

}  // namespace norm_test
