// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class T>
void run(const Packing&, const op::Norm<Uniform<T>>& op) {
  const int width = op.x.columns;
  const T size = T(width);
  for (int n = 0; n < op.x.rows; ++n) {
    const T* x = op.x.row(n);
    T mean = 0, variance = 0;  // for rms: 0 and the mean square
    if (op.kind == NormKind::layer)
      for (int c = 0; c < width; ++c) mean += x[c] / size;
    for (int c = 0; c < width; ++c) variance += (x[c] - mean) * (x[c] - mean) / size;
    const T rstd = 1 / std::sqrt(variance + T(op.epsilon));
    for (int c = 0; c < width; ++c)
      op.y.row(n)[c] = (x[c] - mean) * rstd * op.gain[c] + (op.bias.empty() ? T(0) : op.bias[c]);
    if (op.kind == NormKind::layer) op.mean[n] = mean;
    op.rstd[n] = rstd;
  }
}

/// u = dy ⊙ gain;  x̂ = (x − mean) · rstd;  dx = skip + rstd · (u − mean(u) − x̂ · mean(u ⊙ x̂)), for rms without mean(u).
template <class T>
void run(const Packing&, const op::NormBackward<Uniform<T>>& op) {
  const int width = op.x.columns;
  const T size = T(width);
  const bool centers = op.kind == NormKind::layer;
  for (int n = 0; n < op.x.rows; ++n) {
    const T* dy = op.dy.row(n);
    const auto normalized = [&](int c) { return (op.x.row(n)[c] - (centers ? op.mean[n] : T(0))) * op.rstd[n]; };
    T mean_u = 0, mean_ux = 0;
    for (int c = 0; c < width; ++c) {
      if (centers) mean_u += dy[c] * op.gain[c] / size;
      mean_ux += dy[c] * op.gain[c] * normalized(c) / size;
    }
    for (int c = 0; c < width; ++c) {
      if (!op.dgain.empty()) op.dgain[c] += dy[c] * normalized(c);
      if (!op.dbias.empty()) op.dbias[c] += dy[c];
      op.dx.row(n)[c] = at(op.skip, n, c) + op.rstd[n] * (dy[c] * op.gain[c] - mean_u - normalized(c) * mean_ux);
    }
  }
}

}  // namespace fathom::inline FATHOM_ABI::ref
