// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ref/ref.hpp>
#include <limits>
#include <span>
#include <utility>
#include <vector>

/// What tests of single ops need: matrices with values, packings, and `run`.
namespace fathom_test {
using namespace fathom;

/// A matrix with its values.
struct Values {
  std::vector<double> data;
  int columns;

  Values(std::vector<double> values, int width) : data(std::move(values)), columns(width) {}
  Values(int rows, int width, double value = 0) : data(std::size_t(rows) * std::size_t(width), value), columns(width) {}
  int rows() const { return int(data.size()) / columns; }
  operator Matrix<double>() { return {data.data(), rows(), columns}; }
  operator Matrix<const double>() const { return {data.data(), rows(), columns}; }
  std::span<const double> span() const { return data; }
};

/// Outputs start as NaN.
inline Values like(const Values& other) {
  return {other.rows(), other.columns, std::numeric_limits<double>::quiet_NaN()};
}

inline PackedRows pack(const std::vector<int>& lengths) {
  PackedRows packed({64, 8, 64});
  packed.assign(lengths);
  return packed;
}
inline PackedRows one_sequence(int rows) { return pack({rows}); }

template <class Op>
void run(const Packing& packing, const Op& op) {
  QuietLane lane;
  lane.on(packing);
  Ref<double>::run(lane, op);
}

}  // namespace fathom_test
