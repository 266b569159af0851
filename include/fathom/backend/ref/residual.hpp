// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/norm.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class P>
void run(const Packing& packing, const op::ResidualAdd<P>& op) {
  using C = Compute<P>;
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < op.y.columns; ++c)
      store(op.y, n, c,
            (op.x ? at(op.a, c) * C(op.x.row(n)[c]) : C(0)) +
                at(op.b, c) * factor<C>(op.dropout, place, c) * load<C>(op.f, n, c));
  });
}

template <class P>
void run(const Packing& packing, const op::ResidualAddBackward<P>& op) {
  using C = Compute<P>;
  Sums<Sum<P>, typename P::Gradient> da(op.da), db(op.db);
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < op.dy.columns; ++c) {
      const C dy = C(op.dy.row(n)[c]), kept = dy * factor<C>(op.dropout, place, c);
      if (!op.da.empty()) da[op.da.size() == 1 ? 0 : c] += C(op.a.constant) * dy * C(op.x.row(n)[c]);
      if (!op.db.empty()) db[op.db.size() == 1 ? 0 : c] += C(op.b.constant) * kept * C(op.f.row(n)[c]);
      if (op.dx) store(op.dx, n, c, at(op.a, c) * dy);
      if (op.df) store(op.df, n, c, at(op.b, c) * kept);
    }
  });
  da.round(), db.round();
}

template <class P>
void run(const Packing& packing, const op::ResidualAddNorm<P>& op) {
  run(packing, op::ResidualAdd<P>{op.x, op.f, op.a, op.b, op.dropout, op.z});
  run(packing, op::Norm<P>{op.kind, op.epsilon, op.z, op.gain, op.bias, op.y, op.mean, op.rstd});
}

template <class P>
void run(const Packing& packing, const op::ResidualAddNormBackward<P>& op) {
  run(packing, op::NormBackward<P>{op.kind, op.z, op.mean, op.rstd, op.gain, op.dy, {}, op.dz, op.dgain, op.dbias});
  if (op.df)
    run(packing, op::ResidualAddBackward<P>{.x = {},
                                            .f = {},
                                            .a = {},
                                            .b = {op.b, {}},
                                            .dropout = op.dropout,
                                            .dy = op.dz,
                                            .dx = {},
                                            .df = op.df,
                                            .da = {},
                                            .db = {}});
}

template <class P>
void run(const Packing&, const op::Shift<P>& op) {
  using C = Compute<P>;
  for (int n = 0; n < op.y.rows; ++n)
    for (int c = 0; c < op.y.columns; ++c) store(op.y, n, c, C(op.x.row(n)[c]) + C(op.shift[0]));
}

template <class P>
void run(const Packing&, const op::ShiftBackward<P>& op) {
  Sums<Sum<P>, typename P::Gradient> dshift(op.dshift);
  for (int n = 0; n < op.dy.rows; ++n)
    for (int c = 0; c < op.dy.columns; ++c) dshift[0] += load<Compute<P>>(op.dy, n, c);
  dshift.round();
}

template <class P>
void run(const Packing&, const op::WeightedSum<P>& op) {
  using C = Compute<P>;
  for (int n = 0; n < op.y.rows; ++n)
    for (int c = 0; c < op.y.columns; ++c) {
      Sum<P> sum(C(0));
      for (int k = 0; k < op.count; ++k) sum += C(op.weights[k]) * C(op.first.row(n)[k * op.pitch + c]);
      store(op.y, n, c, C(sum));
    }
}

template <class P>
void run(const Packing&, const op::WeightedSumBackward<P>& op) {
  using C = Compute<P>;
  Sums<Sum<P>, typename P::Gradient> dweights(op.dweights);
  for (int n = 0; n < op.dy.rows; ++n)
    for (int c = 0; c < op.dy.columns; ++c)
      for (int k = 0; k < op.count; ++k) {
        const C dy = C(op.dy.row(n)[c]);
        auto& dx = op.dfirst.row(n)[k * op.pitch + c];
        dx = typename P::Stream(C(dx) + C(op.weights[k]) * dy);
        dweights[k] += dy * C(op.first.row(n)[k * op.pitch + c]);
      }
  dweights.round();
}

template <class P>
void run(const Packing&, const op::Variance<P>& op) {
  using C = Compute<P>;
  const auto mean_over_all = [&](auto&& f) {
    Sum<P> sum(C(0));
    for (int n = 0; n < op.x.rows; ++n)
      for (int c = 0; c < op.x.columns; ++c) sum += f(C(op.x.row(n)[c]));
    return C(sum) / (C(op.x.rows) * C(op.x.columns));
  };
  const C mean = mean_over_all([](C x) { return x; });
  *op.result = mean_over_all([mean](C x) { return (x - mean) * (x - mean); });
}

template <class P>
void run(const Packing&, const op::Copy<P>& op) {
  using C = Compute<P>;
  for (int n = 0; n < op.x.rows; ++n)
    for (int c = 0; c < op.x.columns; ++c)
      store(op.y, n, c, (op.add ? C(op.y.row(n)[c]) : C(0)) + C(op.x.row(n)[c]));
}

template <class P>
void run(const Packing&, const op::Zero<P>& op) {
  for (int n = 0; n < op.y.rows; ++n)
    for (int c = 0; c < op.y.columns; ++c) store(op.y, n, c, Compute<P>(0));
}

}  // namespace fathom::inline FATHOM_ABI::ref
