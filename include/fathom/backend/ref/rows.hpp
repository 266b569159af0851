// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/precision.hpp>

namespace fathom::inline FATHOM_ABI::ref {

/// Where a row of a packed matrix stands.
struct Place {
  int sequence;  ///< that it belongs to
  int position;  ///< in the sequence, past rows included
};

/// Calls f(row of the matrix, place) for every row.
void each_row(const Packing& packing, auto&& f) {
  for (int s = 0; s < packing.sequences(); ++s)
    for (int row = 0; row < packing.length(s); ++row) f(packing.offsets[s] + row, Place{s, packing.past_of(s) + row});
}

/// What dropout multiplies one element by.
template <class T>
T factor(const Dropout& dropout, int sequence, int head, int position, int column) {
  if (!dropout.active()) return 1;
  return Indexed(dropout.factors<T>(sequence, head, position, column / Dropout::block))[column % Dropout::block];
}
template <class T>
T factor(const Dropout& dropout, const Place& place, int column) {
  return factor<T>(dropout, place.sequence, 0, place.position, column);
}

/// scale · value of a skip, 0 where there is none.
template <class T>
T at(const Skip<Uniform<T>>& skip, int row, int column) {
  return skip.value ? T(skip.scale) * skip.value.row(row)[column] : T(0);
}

/// The learned part of a residual scale for one channel, 1 where nothing is learned.
template <class T>
T learned(const ResidualScale<Uniform<T>>& scale, int channel) {
  if (scale.learned.empty()) return 1;
  return scale.learned[scale.learned.size() == 1 ? 0 : channel];
}
template <class T>
T at(const ResidualScale<Uniform<T>>& scale, int channel) {
  return T(scale.constant) * learned(scale, channel);
}

}  // namespace fathom::inline FATHOM_ABI::ref
