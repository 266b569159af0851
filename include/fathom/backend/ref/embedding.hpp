// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class T>
void run(const Packing& packing, const op::Embedding<Uniform<T>>& op) {
  const int width = op.y.columns;
  const auto sinusoid = [width](int position, int channel) {
    const double angle = position / std::pow(10000.0, double(channel / 2 * 2) / width);
    return T(channel % 2 == 0 ? std::sin(angle) : std::cos(angle));
  };
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < width; ++c) {
      T y = T(op.scale) * op.table.row(op.tokens[n])[c];
      if (op.positions) y += op.positions.row(place.position)[c];
      if (op.sinusoidal) y += sinusoid(place.position, c);
      op.y.row(n)[c] = y * factor<T>(op.dropout, place, c);
    }
  });
}

template <class T>
void run(const Packing& packing, const op::EmbeddingBackward<Uniform<T>>& op) {
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < op.dy.columns; ++c) {
      const T dy = op.dy.row(n)[c] * factor<T>(op.dropout, place, c);
      if (op.dtable) op.dtable.row(op.tokens[n])[c] += T(op.scale) * dy;
      if (op.dpositions) op.dpositions.row(place.position)[c] += dy;
    }
  });
}

}  // namespace fathom::inline FATHOM_ABI::ref
