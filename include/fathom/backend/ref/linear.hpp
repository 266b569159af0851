// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class P>
void run(const Packing&, const op::LinearForward<P>& op) {
  using C = Compute<P>;
  for (int n = 0; n < op.x.rows; ++n)
    for (int out = 0; out < op.weight.rows; ++out) {
      Sum<P> sum(op.bias.empty() ? C(0) : C(op.bias[out]));
      for (int in = 0; in < op.weight.columns; ++in) sum += C(op.x.row(n)[in]) * C(op.weight.row(out)[in]);
      store(op.y, n, out, C(sum));
    }
}

template <class P>
void run(const Packing&, const op::LinearBackwardInput<P>& op) {
  using C = Compute<P>;
  for (int n = 0; n < op.dy.rows; ++n)
    for (int in = 0; in < op.weight.columns; ++in) {
      Sum<P> sum(at(op.skip, n, in));
      for (int out = 0; out < op.weight.rows; ++out) sum += C(op.dy.row(n)[out]) * C(op.weight.row(out)[in]);
      store(op.dx, n, in, C(sum));
    }
}

template <class P>
void run(const Packing&, const op::LinearBackwardWeight<P>& op) {
  using C = Compute<P>;
  Sums<Sum<P>, typename P::Gradient> dweight(op.dweight), dbias(op.dbias);
  for (int n = 0; n < op.x.rows; ++n)
    for (int out = 0; out < op.dweight.rows; ++out) {
      const C dy = C(op.dy.row(n)[out]);
      for (int in = 0; in < op.dweight.columns; ++in) dweight(out, in) += dy * C(op.x.row(n)[in]);
      if (!op.dbias.empty()) dbias[out] += dy;
    }
  dweight.round(), dbias.round();
}

}  // namespace fathom::inline FATHOM_ABI::ref
