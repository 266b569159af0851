// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/ops/operands.hpp"
#include "backend/ops/sample/into.hpp"

namespace fathom_test::sample {

template <class P>
op::Norm<P> norm(Operands<P>& o, NormKind kind, int width, bool bias) {
  return {.kind = kind,
          .epsilon = 1e-5,
          .x = o.rows_of(width),
          .gain = o.values(width),
          .bias = o.values(bias ? width : 0),
          .y = o.poisoned_rows_of(width),
          .mean = o.poison(kind == NormKind::rms ? 0 : o.count()),
          .rstd = o.poison(o.count())};
}

template <class P>
op::NormBackward<P> norm_backward(Operands<P>& o, NormKind kind, int width, bool bias, bool has_skip,
                                  Into into = Into::own) {
  const Matrix<typename P::Stream> dy = o.rows_of(width);
  Matrix<typename P::Stream> value;
  op::NormBackward<P> op{.kind = kind,
                         .x = o.rows_of(width),
                         .mean = o.values(kind == NormKind::rms ? 0 : o.count()),
                         .rstd = o.uniform({0.5, 1.5}, 1, o.count()),  // any positive ones will do
                         .gain = o.values(width),
                         .dy = dy,
                         .skip = skip(o, has_skip, width, value),
                         .dx = {},
                         .dgain = o.values(width),
                         .dbias = o.values(bias ? width : 0)};
  if (into == Into::skip)
    op.dx = value;
  else if (into == Into::dy)
    op.dx = dy;
  else
    op.dx = o.poisoned_rows_of(width);
  return op;
}

}  // namespace fathom_test::sample
