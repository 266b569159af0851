// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/ops/operands.hpp"
#include "backend/ops/sample/into.hpp"

namespace fathom_test::sample {

/// How many factors are learned in the scales of a residual add, and whether their gradients are wanted.
struct Learned {
  int a = 0, b = 0;
  bool gradients = true;
};

template <class P>
ResidualScale<P> residual_scale(Operands<P>& o, double constant, int learned) {
  return {constant, o.values(learned)};
}

template <class P>
op::ResidualAdd<P> residual_add(Operands<P>& o, int width, const Learned& learned, Into into = Into::own) {
  const Matrix<typename P::Stream> x = o.rows_of(width);
  const Matrix<typename P::Activation> f = o.rows_of(width);
  op::ResidualAdd<P> op{.x = x,
                        .f = f,
                        .a = residual_scale(o, 1.5, learned.a),
                        .b = residual_scale(o, learned.b == 0 ? 1 : 0.75, learned.b),
                        .dropout = o.dropout,
                        .y = into == Into::x ? StreamResult<P>(x) : StreamResult<P>(f)};
  if (into == Into::own) op.y = o.poisoned_rows_of(width);
  return op;
}

template <class P>
op::ResidualAddBackward<P> residual_add_backward(Operands<P>& o, int width, const Learned& learned, bool dx, bool df) {
  const int da = learned.gradients ? learned.a : 0, db = learned.gradients ? learned.b : 0;
  return {.x = o.values(da > 0 ? o.count() : 0, width),
          .f = o.values(db > 0 ? o.count() : 0, width),
          .a = residual_scale(o, 1.5, learned.a),
          .b = residual_scale(o, 0.75, learned.b),
          .dropout = o.dropout,
          .dy = o.rows_of(width),
          .dx = o.poison(dx ? o.count() : 0, width),
          .df = o.poison(df ? o.count() : 0, width),
          .da = o.values(da),
          .db = o.values(db)};
}

template <class P>
op::Shift<P> shift(Operands<P>& o, int width, Into into = Into::own) {
  const Matrix<typename P::Activation> x = o.rows_of(width);
  op::Shift<P> op{.x = x, .shift = o.values(1), .y = x};
  if (into == Into::own) op.y = o.poisoned_rows_of(width);
  return op;
}

template <class P>
op::ShiftBackward<P> shift_backward(Operands<P>& o, int width) {
  const Matrix<typename P::Activation> dy = o.rows_of(width);
  return {.dy = dy, .dshift = o.values(1)};
}

template <class P>
op::ResidualAddNorm<P> residual_add_norm(Operands<P>& o, NormKind kind, int width, const Learned& learned,
                                         Into into = Into::own) {
  const Matrix<typename P::Activation> f = o.rows_of(width);
  op::ResidualAddNorm<P> op{.x = o.rows_of(width),
                            .f = f,
                            .a = residual_scale(o, 2.5, learned.a),
                            .b = residual_scale(o, 1, learned.b),
                            .dropout = o.dropout,
                            .kind = kind,
                            .epsilon = 1e-5,
                            .gain = o.values(width),
                            .bias = o.values(kind == NormKind::layer ? width : 0),
                            .z = {},
                            .mean = o.poison(kind == NormKind::rms ? 0 : o.count()),
                            .rstd = o.poison(o.count()),
                            .y = o.poisoned_rows_of(width)};
  if (into == Into::own) op.z = o.poisoned_rows_of(width);
  if constexpr (branches_read_stream<P>)
    if (into == Into::f) op.z = f;
  return op;
}

template <class P>
op::ResidualAddNormBackward<P> residual_add_norm_backward(Operands<P>& o, NormKind kind, int width, double b, bool df,
                                                          Into into = Into::own) {
  const Matrix<typename P::Stream> dy = o.rows_of(width);
  op::ResidualAddNormBackward<P> op{.b = b,
                                    .dropout = o.dropout,
                                    .kind = kind,
                                    .z = o.rows_of(width),
                                    .mean = o.values(kind == NormKind::rms ? 0 : o.count()),
                                    .rstd = o.uniform({0.5, 1.5}, 1, o.count()),
                                    .gain = o.values(width),
                                    .dy = dy,
                                    .dz = dy,
                                    .df = o.poison(df ? o.count() : 0, width),
                                    .dgain = o.values(width),
                                    .dbias = o.values(kind == NormKind::layer ? width : 0)};
  if (into == Into::own) op.dz = o.poisoned_rows_of(width);
  return op;
}

/// Elements from one of several streams to the next, with something between them.
template <class P>
std::int64_t pitch_of(const Operands<P>& o, int width) {
  return std::int64_t(o.count() + 1) * (width + 2 * o.rows.layout.gap);
}
/// The first of `count` streams.
template <class P>
Matrix<typename P::Stream> streams(Operands<P>& o, int width, int count, int gap) {
  const Elements<typename P::Stream> all = o.values(count * int(pitch_of(o, width)));
  return {all.data(), o.count(), width, width + gap};
}

template <class P>
op::WeightedSum<P> weighted_sum(Operands<P>& o, int width, int count) {
  return {.first = streams(o, width, count, o.rows.layout.gap),
          .pitch = pitch_of(o, width),
          .count = count,
          .weights = o.values(count),
          .y = o.poisoned_rows_of(width)};
}

template <class P>
op::WeightedSumBackward<P> weighted_sum_backward(Operands<P>& o, int width, int count) {
  return {.first = streams(o, width, count, o.rows.layout.gap),
          .pitch = pitch_of(o, width),
          .count = count,
          .weights = o.values(count),
          .dy = o.rows_of(width),
          .dfirst = streams(o, width, count, 2 * o.rows.layout.gap),
          .dweights = o.values(count)};
}

/// `result` is for whoever runs the op to set.
template <class P>
op::Variance<P> variance(Operands<P>& o, int width) {
  return {.x = o.rows_of(width), .result = nullptr};
}

template <class P>
op::Copy<P> copy(Operands<P>& o, int width, bool add) {
  op::Copy<P> op{.x = o.rows_of(width), .y = {}, .add = add};
  if (add)
    op.y = o.rows_of(width);
  else
    op.y = o.poisoned_rows_of(width);
  return op;
}

template <class P>
op::Zero<P> zero(Operands<P>& o, int width) {
  return {.y = o.poisoned_rows_of(width)};
}

}  // namespace fathom_test::sample
