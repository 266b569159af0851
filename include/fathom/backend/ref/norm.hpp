// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class P>
void run(const Packing&, const op::Norm<P>& op) {
  using C = Compute<P>;
  const int width = op.x.columns;
  const C size = C(width);
  for (int n = 0; n < op.x.rows; ++n) {
    const auto x = [&](int c) { return C(op.x.row(n)[c]); };
    Sum<P> sum(C(0)), squares(C(0));  // for rms: 0 and the mean square
    if (op.kind == NormKind::layer)
      for (int c = 0; c < width; ++c) sum += x(c) / size;
    const C mean = C(sum);
    for (int c = 0; c < width; ++c) squares += (x(c) - mean) * (x(c) - mean) / size;
    const C rstd = 1 / std::sqrt(C(squares) + C(op.epsilon));
    for (int c = 0; c < width; ++c)
      store(op.y, n, c, (x(c) - mean) * rstd * C(op.gain[c]) + (op.bias.empty() ? C(0) : C(op.bias[c])));
    if (op.kind == NormKind::layer) op.mean[n] = typename P::Statistic(mean);
    op.rstd[n] = typename P::Statistic(rstd);
  }
}

/// u = dy ⊙ gain;  x̂ = (x − mean) · rstd;  dx = skip + rstd · (u − mean(u) − x̂ · mean(u ⊙ x̂)), for rms without mean(u).
template <class P>
void run(const Packing&, const op::NormBackward<P>& op) {
  using C = Compute<P>;
  const int width = op.x.columns;
  const C size = C(width);
  const bool centers = op.kind == NormKind::layer;
  Sums<Sum<P>, typename P::Gradient> dgain(op.dgain), dbias(op.dbias);
  for (int n = 0; n < op.x.rows; ++n) {
    const auto dy = [&](int c) { return C(op.dy.row(n)[c]); };
    const auto gain = [&](int c) { return C(op.gain[c]); };
    const C rstd = C(op.rstd[n]), center = centers ? C(op.mean[n]) : C(0);
    const auto normalized = [&](int c) { return (C(op.x.row(n)[c]) - center) * rstd; };
    Sum<P> sum_u(C(0)), sum_ux(C(0));
    for (int c = 0; c < width; ++c) {
      if (centers) sum_u += dy(c) * gain(c) / size;
      sum_ux += dy(c) * gain(c) * normalized(c) / size;
    }
    const C mean_u = C(sum_u), mean_ux = C(sum_ux);
    for (int c = 0; c < width; ++c) {
      if (!op.dgain.empty()) dgain[c] += dy(c) * normalized(c);
      if (!op.dbias.empty()) dbias[c] += dy(c);
      store(op.dx, n, c, at(op.skip, n, c) + rstd * (dy(c) * gain(c) - mean_u - normalized(c) * mean_ux));
    }
  }
  dgain.round(), dbias.round();
}

}  // namespace fathom::inline FATHOM_ABI::ref
