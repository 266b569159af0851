// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class T>
void run(const Packing&, const op::Linear<Uniform<T>>& op) {
  for (int n = 0; n < op.x.rows; ++n)
    for (int out = 0; out < op.weight.rows; ++out) {
      T sum = op.bias.empty() ? T(0) : op.bias[out];
      for (int in = 0; in < op.weight.columns; ++in) sum += op.x.row(n)[in] * op.weight.row(out)[in];
      op.y.row(n)[out] = sum;
    }
}

template <class T>
void run(const Packing&, const op::LinearBackwardInput<Uniform<T>>& op) {
  for (int n = 0; n < op.dy.rows; ++n)
    for (int in = 0; in < op.weight.columns; ++in) {
      T sum = at(op.skip, n, in);
      for (int out = 0; out < op.weight.rows; ++out) sum += op.dy.row(n)[out] * op.weight.row(out)[in];
      op.dx.row(n)[in] = sum;
    }
}

template <class T>
void run(const Packing&, const op::LinearBackwardWeight<Uniform<T>>& op) {
  for (int n = 0; n < op.x.rows; ++n)
    for (int out = 0; out < op.dweight.rows; ++out) {
      for (int in = 0; in < op.dweight.columns; ++in) op.dweight.row(out)[in] += op.dy.row(n)[out] * op.x.row(n)[in];
      if (!op.dbias.empty()) op.dbias[out] += op.dy.row(n)[out];
    }
}

}  // namespace fathom::inline FATHOM_ABI::ref
