// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/prepared.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/embedding.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::cuda {

/// y = dropout(scale · table[token] + position row).
template <class P>
struct EmbeddingRows {
  static constexpr const char* name = "embedding";
  static constexpr int threads = 256;
  const int* tokens;
  RowsOf<const typename P::Weight> table, positions;
  Sinusoids sinusoids;
  float scale;
  MaskOf mask;
  PlacesOf places;
  StreamResultOf<P> y;
  int rows, columns;

  constexpr float sinusoid(int position, int channel) const {
    const bool halves = sinusoids.order == Sinusoids::Order::halves;
    const int half = columns / 2;
    const double exponent = halves ? double(channel % half) / (half - 1) : double(channel / 2 * 2) / columns;
    const double angle = (sinusoids.first + position) / std::pow(10000.0, exponent);
    return float((halves ? channel < half : channel % 2 == 0) ? std::sin(angle) : std::cos(angle));
  }

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const bool computed = sinusoids.order != Sinusoids::Order::none;
    each_octet(thread, threads, rows, columns, [&](int row, int column) {
      Octet sum = table.load(thread, thread.load(tokens + row), column);
      for (float& x : sum.at) x *= scale;
      if (positions || computed || mask.active()) {
        const auto place = places.place(thread, row);
        if (positions) {
          const Octet position = positions.load(thread, place.position, column);
          for (int e = 0; e < octet; ++e) sum.at[e] += position.at[e];
        }
        if (computed)
          for (int e = 0; e < octet && column + e < columns; ++e) sum.at[e] += sinusoid(place.position, column + e);
        if (mask.active()) mask.apply(thread, place, column, sum);
      }
      y.store(thread, row, column, sum);
    });
  }
};

template <class P>
void run_op(Session& session, const OnRows<op::Embedding<P>>& packed, Numbers numbers) {
  const op::Embedding<P>& op = packed.op;
  if (op.y.rows == 0) return;
  using K = EmbeddingRows<P>;
  session.launch(octet_blocks<K>(op.y.rows, op.y.columns), K{op.tokens.data(),
                                                             op.table,
                                                             op.positions,
                                                             op.sinusoids,
                                                             float(op.scale),
                                                             {op.dropout.rate, numbers.next<Key>()},
                                                             PlacesOf(packed.rows),
                                                             op.y,
                                                             op.y.rows,
                                                             op.y.columns});
}

/// dtable[token] += scale · Σ of dropout'(dy) over the rows of a token, in their order. A block for 256 columns of each
/// place in the sorted list; the first place of a token does them.
template <class P>
struct TableGradients {
  static constexpr const char* name = "embedding backward";
  static constexpr int threads = 32;
  const int *tokens, *order;  ///< the tokens in ascending order, and whose they are
  float scale;
  MaskOf mask;
  PlacesOf places;
  RowsOf<const typename P::Stream> dy;
  RowsOf<typename P::Gradient> dtable;
  int rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int at = thread.block() % rows, column = (thread.block() / rows * threads + thread.index()) * octet;
    const int token = thread.load(tokens + at);
    if (column >= dy.columns || (at > 0 && thread.load(tokens + at - 1) == token)) return;
    Octet sum;
    for (int i = at; i < rows && thread.load(tokens + i) == token; ++i) {
      const int row = thread.load(order + i);
      Octet gradient = dy.load(thread, row, column);
      if (mask.active()) mask.apply(thread, places.place(thread, row), column, gradient);
      for (int e = 0; e < octet; ++e) sum.at[e] += gradient.at[e];
    }
    Octet result = dtable.load(thread, token, column);
    for (int e = 0; e < octet; ++e) result.at[e] += scale * sum.at[e];
    dtable.store(thread, token, column, result);
  }
};

/// dpositions += dropout'(dy): a block for 256 columns of each position, which looks at all sequences.
template <class P>
struct PositionGradients {
  static constexpr const char* name = "position backward";
  static constexpr int threads = 32;
  MaskOf mask;
  PlacesOf places;
  RowsOf<const typename P::Stream> dy;
  RowsOf<typename P::Gradient> dpositions;
  int positions;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int position = thread.block() % positions;
    const int column = (thread.block() / positions * threads + thread.index()) * octet;
    if (column >= dy.columns) return;
    Octet sum;
    bool any = false;
    for (int s = 0; s < places.sequences; ++s) {
      const int first = thread.load(places.offsets + s), last = thread.load(places.offsets + s + 1);
      const int row = first + position - places.past_of(thread, s);
      if (row < first || row >= last) continue;
      any = true;
      Octet gradient = dy.load(thread, row, column);
      if (mask.active()) mask.apply(thread, {s, position}, column, gradient);
      for (int e = 0; e < octet; ++e) sum.at[e] += gradient.at[e];
    }
    if (!any) return;
    Octet result = dpositions.load(thread, position, column);
    for (int e = 0; e < octet; ++e) result.at[e] += sum.at[e];
    dpositions.store(thread, position, column, result);
  }
};

template <class P>
void run_op(Session& session, const OnTokens<op::EmbeddingBackward<P>>& packed, Numbers numbers) {
  const op::EmbeddingBackward<P>& op = packed.op;
  if (op.dy.rows == 0) return;
  const MaskOf mask{op.dropout.rate, numbers.next<Key>()};
  const PlacesOf places(packed.rows);
  using K = TableGradients<P>;
  const int slices = (op.dy.columns + K::threads * octet - 1) / (K::threads * octet);
  if (op.dtable)
    session.launch(op.dy.rows * slices, K{packed.sorted.data(), packed.order.data(), float(op.scale), mask, places,
                                          op.dy, op.dtable, op.dy.rows});
  if (op.dpositions)
    session.launch(op.dpositions.rows * slices,
                   PositionGradients<P>{mask, places, op.dy, op.dpositions, op.dpositions.rows});
}

}  // namespace fathom::inline FATHOM_ABI::cuda
