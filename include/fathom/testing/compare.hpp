// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/view.hpp>
#include <limits>
#include <span>
#include <string>

namespace fathom::inline FATHOM_ABI::testing {

/// |a − b| / max(|a|, |b|, floor): relative above the absolute `floor`, and no division by next to nothing below it.
/// 0 for equal values, equal infinities and two NaNs included; infinite where only one of two is finite.
inline double relative_error(double a, double b, double floor) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  if (!std::isfinite(a) || !std::isfinite(b)) return std::numeric_limits<double>::infinity();
  return std::abs(a - b) / std::max({std::abs(a), std::abs(b), floor});
}

/// The worst of many comparisons.
struct Difference {
  double error = 0;                  ///< its `relative_error`
  double actual = 0, expected = 0;   ///< the values that differ most
  std::int64_t row = 0, column = 0;  ///< and their place

  void add(double actual_value, double expected_value, double floor, std::int64_t at_row, std::int64_t at_column) {
    const double error_here = relative_error(actual_value, expected_value, floor);
    if (error_here > error) *this = {error_here, actual_value, expected_value, at_row, at_column};
  }
};

/// Compares element by element. Errors: `ShapeError` when the extents differ.
template <class A, class B>
Difference compare(const Matrix<A>& actual, const Matrix<B>& expected, double floor) {
  if (actual.rows != expected.rows || actual.columns != expected.columns)
    throw ShapeError("compare: a matrix of " + std::to_string(actual.rows) + " x " + std::to_string(actual.columns) +
                     " with one of " + std::to_string(expected.rows) + " x " + std::to_string(expected.columns));
  Difference worst;
  for (int row = 0; row < actual.rows; ++row)
    for (int column = 0; column < actual.columns; ++column)
      worst.add(double(actual.row(row)[column]), double(expected.row(row)[column]), floor, row, column);
  return worst;
}
template <class A, std::size_t ExtentA, class B, std::size_t ExtentB>
Difference compare(std::span<A, ExtentA> actual, std::span<B, ExtentB> expected, double floor) {
  if (actual.size() != expected.size())
    throw ShapeError("compare: a span of " + std::to_string(actual.size()) + " elements with one of " +
                     std::to_string(expected.size()));
  Difference worst;
  for (std::size_t i = 0; i < actual.size(); ++i)
    worst.add(double(actual[i]), double(expected[i]), floor, 0, std::int64_t(i));
  return worst;
}

}  // namespace fathom::inline FATHOM_ABI::testing
