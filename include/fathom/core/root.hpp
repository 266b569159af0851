// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI {

/// sqrt(x) for a finite x > 0, to one unit in the last place; std::sqrt is no constant expression before C++26.
constexpr double square_root(double x) {
  double root = x < 1 ? 1 : x;  // at or above the root, from where Newton's iteration only descends
  for (double next = (root + x / root) / 2; next < root; next = (root + x / root) / 2) root = next;
  return root;
}

constexpr double fourth_root(double x) { return square_root(square_root(x)); }

/// The same of order 6, to a few units in the last place.
constexpr double sixth_root(double x) {
  const double square = square_root(x);
  double root = square < 1 ? 1 : square;  // of order 3, by Newton's iteration from above
  for (double next = (2 * root + square / (root * root)) / 3; next < root;
       next = (2 * root + square / (root * root)) / 3)
    root = next;
  return root;
}

}  // namespace fathom::inline FATHOM_ABI
