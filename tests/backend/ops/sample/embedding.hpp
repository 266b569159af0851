// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "backend/ops/operands.hpp"

namespace fathom_test::sample {

enum class Positions { none, learned, neighbours, halves };

/// Rows that a table of positions needs: the last place of any sequence, past rows included, and one more.
template <class P>
int positions_of(const Operands<P>& o, Positions kind) {
  int places = 0;
  for (int s = 0; s < o.rows.packing.sequences(); ++s)
    places = std::max(places, o.rows.packing.past_of(s) + o.rows.packing.length(s));
  return kind == Positions::learned ? places + 1 : 0;
}

inline Sinusoids sinusoids_of(Positions kind) {
  if (kind == Positions::neighbours) return {Sinusoids::Order::neighbours};
  if (kind == Positions::halves) return {Sinusoids::Order::halves, 3};
  return {};
}

template <class P>
op::Embedding<P> embedding(Operands<P>& o, int width, int vocabulary, Positions positions) {
  return {.tokens = o.integers(0, vocabulary),
          .table = o.values(vocabulary, width),
          .positions = o.values(positions_of(o, positions), width),
          .sinusoids = sinusoids_of(positions),
          .scale = 6,
          .dropout = o.dropout,
          .y = o.poisoned_rows_of(width)};
}

template <class P>
op::EmbeddingBackward<P> embedding_backward(Operands<P>& o, int width, int vocabulary, Positions positions,
                                            bool table = true) {
  return {.tokens = o.integers(0, vocabulary),
          .scale = 6,
          .dropout = o.dropout,
          .dy = o.rows_of(width),
          .dtable = o.values(table ? vocabulary : 0, width),
          .dpositions = o.values(positions_of(o, positions), width)};
}

}  // namespace fathom_test::sample
