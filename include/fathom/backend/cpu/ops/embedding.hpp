// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/deferred.hpp>
#include <fathom/backend/cpu/rows.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <fathom/backend/cpu/update.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Rows of tables, by token and by position.
template <class P, class Matmul>
struct EmbeddingOps {
  using T = typename P::Stream;
  using Gradient = typename P::Gradient;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static constexpr std::int64_t scratch_bytes(const op::Embedding<P>& op) {
    return has_sinusoids(op) ? std::int64_t(op.y.columns) * std::int64_t(sizeof(T)) : 0;
  }

  static void run(Lane& lane, const op::Embedding<P>& op) {
    const int width = op.y.columns;
    T* const sinusoids = has_sinusoids(op) ? lane.template scratch<T>(width) : nullptr;
    each_run(lane.packing(), lane.share().rows, [&](int sequence, int position, int first, int count) {
      for (int r = 0; r < count; ++r) {
        const auto* token = op.table.row(op.tokens[first + r]);
        const auto* learned = op.positions ? op.positions.row(position + r) : nullptr;
        const auto y = row_of(op.y, first + r);
        if (has_sinusoids(op)) set_sinusoids(op.sinusoids, position + r, sinusoids, width);
        sweep_dropped<T>(op.dropout, sequence, position + r, 1, width, [&](int, auto place, auto kept) {
          Simd<T> v = learned ? fma(broadcast(T(op.scale)), place.load(token), place.load(learned))
                              : place.load(token) * T(op.scale);
          if (has_sinusoids(op)) v += place.load(sinusoids);
          place.store(y, kept(v));
        });
      }
    });
  }

  /// Each lane adds its own columns of all rows, in the order of the rows.
  static void run(Lane& lane, const op::EmbeddingBackward<P>& op) {
    lane.barrier();
    const Range all{0, op.dy.rows}, columns = share_of(op.dy.columns, lane.number(), lane.parts(), 16);
    if (columns.size() > 0 && op.dropout.active()) {
      add_dropped(lane.packing(), all, columns, op);
    } else if (columns.size() > 0) {
      const auto count = std::size_t(columns.size());
      each_run(lane.packing(), all, [&](int, int position, int first, int run) {
        for (int r = 0; r < run; ++r) {
          const T* dy = op.dy.row(first + r) + columns.begin;
          if (op.dtable) axpy<T>(count, T(op.scale), dy, op.dtable.row(op.tokens[first + r]) + columns.begin);
          if (op.dpositions) axpy<T>(count, T(1), dy, op.dpositions.row(position + r) + columns.begin);
        }
      });
    }
    lane.barrier();
  }

 private:
  static constexpr bool has_sinusoids(const op::Embedding<P>& op) {
    return op.sinusoids.order != Sinusoids::Order::none;
  }

  static void add_dropped(const Packing& packing, Range rows, Range columns, const op::EmbeddingBackward<P>& op) {
    each_run(packing, rows, [&](int sequence, int position, int first, int run) {
      each_dropout_block<T>(op.dropout, sequence, position, run, columns.begin, columns.end,
                            [&](int r, int column, const T* factors) {
                              const T* dy = op.dy.row(first + r) + column;
                              Gradient* token = op.dtable ? op.dtable.row(op.tokens[first + r]) + column : nullptr;
                              Gradient* place = op.dpositions ? op.dpositions.row(position + r) + column : nullptr;
                              for (int i = 0; i < std::min(Dropout::block, columns.end - column); ++i) {
                                const T d = dy[i] * factors[i];
                                if (token != nullptr) token[i] += T(op.scale) * d;
                                if (place != nullptr) place[i] += d;
                              }
                            });
    });
  }

  static void set_sinusoids(const Sinusoids& sinusoids, int place, T* y, int width) {
    const int position = sinusoids.first + place, half = width / 2;
    switch (sinusoids.order) {
      case Sinusoids::Order::none:
        break;
      case Sinusoids::Order::neighbours:
        for (int c = 0; c < width; ++c) {
          const double angle = position * std::pow(10000.0, -double(c / 2 * 2) / width);
          y[c] = T(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
        }
        break;
      case Sinusoids::Order::halves:
        if (width % 2 == 1) y[width - 1] = 0;
        for (int c = 0; c < half; ++c) {
          const double angle = position * std::pow(10000.0, -double(c) / (half - 1));
          y[c] = T(std::sin(angle));
          y[half + c] = T(std::cos(angle));
        }
        break;
    }
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
