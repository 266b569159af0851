// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

/// A buffer of n numbers between sentinels.
template <class T>
class Guarded {
 public:
  /// Filled with NaN: what must be overwritten.
  explicit Guarded(std::size_t n) : Guarded(n, std::numeric_limits<T>::quiet_NaN()) {}
  Guarded(std::size_t n, T value) : numbers_(n + 2 * border, sentinel), n_(n) { std::fill_n(data(), n, value); }
  /// Filled with normal numbers around `mean`.
  Guarded(std::size_t n, std::mt19937& random, double deviation = 1, double mean = 0) : Guarded(n) {
    std::normal_distribution<double> normal(mean, deviation);
    for (std::size_t i = 0; i < n; ++i) data()[i] = static_cast<T>(normal(random));
  }

  T* data() { return numbers_.data() + border; }
  const T* data() const { return numbers_.data() + border; }
  operator T*() { return data(); }
  operator const T*() const { return data(); }
  std::size_t size() const { return n_; }

  bool intact() const {
    return std::all_of(numbers_.begin(), numbers_.begin() + border, [](T x) { return x == sentinel; }) &&
           std::all_of(numbers_.end() - border, numbers_.end(), [](T x) { return x == sentinel; });
  }

 private:
  static constexpr std::ptrdiff_t border = 67;
  static constexpr T sentinel = T(12345.5);
  std::vector<T> numbers_;
  std::size_t n_;
};

/// The greatest difference, relative to the greater of 1 and the expected number; infinite if a NaN stands anywhere.
template <class T>
double difference(const Guarded<T>& actual, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(double{actual.data()[i]} - expected[i]) / std::max(1.0, std::abs(expected[i]));
    if (!(d <= worst)) worst = std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
  }
  return actual.size() == expected.size() && actual.intact() ? worst : std::numeric_limits<double>::infinity();
}
