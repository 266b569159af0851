// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/ops/operands.hpp"

namespace fathom_test::sample {

/// `result` is for whoever runs the op to set.
template <class P>
op::SumOfSquares<P> sum_of_squares(Operands<P>& o, int size) {
  return {.x = o.values(size), .result = nullptr};
}

/// A deviation of 0 fills.
template <class P>
op::Initialize<P> initialize(Operands<P>& o, int size, double deviation) {
  return {.x = o.poison(size), .center = 0.5, .deviation = deviation, .key = Key{9}};
}

/// `value` stands in this row and column, where there are so many rows.
template <class P>
op::FirstNonFinite<typename P::Stream> first_non_finite(Operands<P>& o, int columns, int row, int column,
                                                        double value) {
  const Matrix<typename P::Stream> x = o.rows_of(columns);
  if (row < x.rows) x.row(row)[column] = typename P::Stream(value);
  return {.x = x, .result = nullptr};
}

template <class P>
op::Round<P> round(Operands<P>& o, int size) {
  return {.x = o.values(size), .y = o.poison(size)};
}

template <class P>
op::Average<P> average(Operands<P>& o, int size, double decay) {
  return {.x = o.values(size), .average = o.values(size), .decay = decay};
}

template <class P>
UpdateTarget<P> update_target(Operands<P>& o, int size, double weight_decay) {
  return {.weights = o.values(size),
          .rounded = o.poison(size),
          .gradient = o.values(size),
          .gradient_scale = 0.5,
          .learning_rate = 0.01,
          .weight_decay = weight_decay};
}

template <class P>
op::SgdUpdate<P> sgd(Operands<P>& o, int size, bool momentum, double factor, bool nesterov) {
  return {.target = update_target(o, size, 0.1),
          .momentum = o.values(momentum ? size : 0),
          .momentum_factor = factor,
          .nesterov = nesterov};
}

template <class P>
op::AdamUpdate<P> adam(Operands<P>& o, int size, bool decoupled) {
  return {.target = update_target(o, size, 0.1),
          .first = o.values(size),
          .second = o.uniform({0.5, 1.5}, 1, size),
          .beta1 = 0.9,
          .beta2 = 0.999,
          .epsilon = 1e-8,
          .decoupled = decoupled,
          .step = 3};
}

template <class P>
op::LionUpdate<P> lion(Operands<P>& o, int size) {
  return {.target = update_target(o, size, 0.1), .momentum = o.values(size), .beta1 = 0.9, .beta2 = 0.99};
}

/// Tensors of these shapes, one behind another, with gaps between them as in a parameter buffer.
struct TensorShape {
  int rows, columns;
  Role role;
};
inline std::vector<TensorPlace> table_of(const std::vector<TensorShape>& shapes) {
  std::vector<ParameterInfo> table;
  std::int64_t offset = 0;
  for (const auto& [rows, columns, role] : shapes) {
    table.push_back({.name = std::to_string(table.size()),
                     .role = role,
                     .init = {},
                     .gain = 1,
                     .block = {},
                     .offset = offset,
                     .rows = rows,
                     .columns = columns});
    offset += (table.back().size() + 15) / 16 * 16;
  }
  return places_of(table);
}

/// `table` must outlive the op.
template <class P>
op::TensorSquares<P> tensor_squares(Operands<P>& o, const std::vector<TensorPlace>& table) {
  return {.x = o.values(int(table.back().offset + table.back().size())),
          .table = table,
          .results = o.poison(int(table.size()))};
}

/// `table` must outlive the op.
template <class P>
op::AdafactorUpdate<P> adafactor(Operands<P>& o, const std::vector<TensorPlace>& table, std::int64_t step) {
  const int size = int(table.back().offset + table.back().size());
  int moments = 0;
  for (const TensorPlace& place : table) moments += place.vector ? place.columns : place.rows + place.columns;
  return {.target = update_target(o, size, 0.1),
          .moments = o.uniform({0.5, 1.5}, 1, moments),
          .table = table,
          .decay_exponent = 0.8,
          .epsilon1 = 1e-30,
          .epsilon2 = 1e-3,
          .clip_threshold = 1,
          .step = step};
}

}  // namespace fathom_test::sample
