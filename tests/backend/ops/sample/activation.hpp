// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/ops/operands.hpp"
#include "backend/ops/sample/into.hpp"

namespace fathom_test::sample {

template <class P>
op::Activation<P> activation(Operands<P>& o, ActivationKind kind, bool gated, int width, Into into = Into::own) {
  const Matrix<typename P::Activation> x = o.rows_of(gated ? 2 * width : width);
  return {
      .kind = kind, .gated = gated, .dropout = o.dropout, .x = x, .y = into == Into::x ? x : o.poisoned_rows_of(width)};
}

template <class P>
op::ActivationBackward<P> activation_backward(Operands<P>& o, ActivationKind kind, bool gated, int width,
                                              Into into = Into::own, bool wants_output = true) {
  const int x_width = gated ? 2 * width : width;
  const Matrix<typename P::Activation> dy = o.rows_of(width);
  op::ActivationBackward<P> op{
      .kind = kind, .gated = gated, .dropout = o.dropout, .x = o.rows_of(x_width), .dy = dy, .dx = dy, .y = {}};
  if (wants_output) op.y = o.poisoned_rows_of(width);
  if (into != Into::dy) op.dx = o.poisoned_rows_of(x_width);
  return op;
}

}  // namespace fathom_test::sample
