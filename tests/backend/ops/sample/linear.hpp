// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/ops/operands.hpp"
#include "backend/ops/sample/into.hpp"

namespace fathom_test::sample {

template <class P>
op::LinearForward<P> linear(Operands<P>& o, int in, int out, bool bias) {
  return {
      .x = o.rows_of(in), .weight = o.values(out, in), .bias = o.values(bias ? out : 0), .y = o.poisoned_rows_of(out)};
}

template <class P>
op::LinearBackwardInput<P> linear_backward_input(Operands<P>& o, int in, int out, bool has_skip,
                                                 Into into = Into::own) {
  Matrix<typename P::Stream> value;
  op::LinearBackwardInput<P> op{
      .dy = o.rows_of(out), .weight = o.values(out, in), .skip = skip(o, has_skip, in, value), .dx = {}};
  if (into == Into::skip)
    op.dx = value;
  else
    op.dx = o.poisoned_rows_of(in);
  return op;
}

template <class P>
op::LinearBackwardWeight<P> linear_backward_weight(Operands<P>& o, int in, int out, bool bias) {
  return {.x = o.rows_of(in), .dy = o.rows_of(out), .dweight = o.values(out, in), .dbias = o.values(bias ? out : 0)};
}

}  // namespace fathom_test::sample
