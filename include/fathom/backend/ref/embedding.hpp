// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class P>
void run(const Packing& packing, const op::Embedding<P>& op) {
  using C = Compute<P>;
  const int width = op.y.columns;
  const Sinusoids& sinusoids = op.sinusoids;
  const auto sinusoid = [&](int place, int channel) {
    const bool halves = sinusoids.order == Sinusoids::Order::halves;
    const int half = width / 2;
    const double exponent = halves ? double(channel % half) / (half - 1) : double(channel / 2 * 2) / width;
    const double angle = (sinusoids.first + place) / std::pow(10000.0, exponent);
    return C((halves ? channel < half : channel % 2 == 0) ? std::sin(angle) : std::cos(angle));
  };
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < width; ++c) {
      C y = C(op.scale) * C(op.table.row(op.tokens[n])[c]);
      if (op.positions) y += C(op.positions.row(place.position)[c]);
      if (sinusoids.order != Sinusoids::Order::none) y += sinusoid(place.position, c);
      store(op.y, n, c, y * factor<C>(op.dropout, place, c));
    }
  });
}

template <class P>
void run(const Packing& packing, const op::EmbeddingBackward<P>& op) {
  using C = Compute<P>;
  Sums<Sum<P>, typename P::Gradient> dtable(op.dtable), dpositions(op.dpositions);
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < op.dy.columns; ++c) {
      const C dy = C(op.dy.row(n)[c]) * factor<C>(op.dropout, place, c);
      if (op.dtable) dtable(op.tokens[n], c) += C(op.scale) * dy;
      if (op.dpositions) dpositions(place.position, c) += dy;
    }
  });
  dtable.round(), dpositions.round();
}

}  // namespace fathom::inline FATHOM_ABI::ref
