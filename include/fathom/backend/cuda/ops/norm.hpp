// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/passes.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/norm.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::cuda {

/// What a norm reads and writes beside the rows that it normalizes.
template <class P>
struct NormOf {
  NormKind kind;
  float epsilon;
  RowsOf<const typename P::Weight> gain, bias;
  typename P::Statistic *mean, *rstd;
  StreamResultOf<P> y;

  template <class Op>
  explicit NormOf(const Op& op)
      : kind(op.kind),
        epsilon(float(op.epsilon)),
        gain(op.gain),
        bias(op.bias),
        mean(op.mean.data()),
        rstd(op.rstd.data()),
        y(op.y) {}
};

/// y = norm(z) of the rows of a team. `Load` makes z, an octet at a time, and stores it if it is new:
/// load(thread, row, column).
template <class P, class Load, int Warps, int Chunks>
struct NormRows {
  using Team = RowTeam<Warps, Chunks>;
  using Shared = typename Team::Shared;
  static constexpr const char* name = Load::name;
  static constexpr int threads = Team::threads;
  Load load;
  NormOf<P> norm;
  int rows, columns;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int first = (thread.warp() % Warps * warp_size + thread.lane()) * octet;
    constexpr int step = Warps * warp_size * octet;
    int turn = 0;
    const auto sum = [&](float x) { return team_sum<Team, Warps>(thread, x, turn); };
    const int row = thread.block() * Team::teams + thread.warp() / Warps;
    const bool here = row < rows;
    const float size = float(columns);

    Octet z[Chunks];
    float total = 0;
    unrolled<Chunks>([&](int k) {
      const int column = first + k * step;
      if (here && column < columns) z[k] = load(thread, row, column);
      for (const float x : z[k].at) total += x;
    });
    const float mean = norm.kind == NormKind::layer ? sum(total) / size : 0.f;
    float squares = 0;
    unrolled<Chunks>([&](int k) {
      for (int i = 0; i < octet; ++i)
        if (first + k * step + i < columns) squares += (z[k].at[i] - mean) * (z[k].at[i] - mean);
    });
    const float rstd = 1 / std::sqrt(sum(squares) / size + norm.epsilon);
    if (!here) return;
    unrolled<Chunks>([&](int k) {
      const int column = first + k * step;
      if (column >= columns) return;
      const Octet gain = norm.gain.load(thread, 0, column);
      Octet bias;
      if (norm.bias) bias = norm.bias.load(thread, 0, column);
      Octet y;
      for (int i = 0; i < octet; ++i) y.at[i] = (z[k].at[i] - mean) * rstd * gain.at[i] + bias.at[i];
      norm.y.store(thread, row, column, y);
    });
    if (first != 0) return;
    if (norm.kind == NormKind::layer) thread.store(norm.mean + row, mean);
    thread.store(norm.rstd + row, rstd);
  }
};

template <class P, class Load>
void norm_rows(Session& session, const Load& load, const NormOf<P>& norm, int rows, int columns) {
  if (rows == 0) return;
  with_team(columns, Load::name, [&]<int Warps, int Chunks>() {
    using K = NormRows<P, Load, Warps, Chunks>;
    session.launch((rows + K::Team::teams - 1) / K::Team::teams, K{load, norm, rows, columns});
  });
}

/// The rows as they are.
template <class P>
struct LoadRows {
  static constexpr const char* name = "norm";
  RowsOf<const typename P::Stream> x;

  template <class Thread>
  constexpr Octet operator()(Thread& thread, int row, int column) const {
    return x.load(thread, row, column);
  }
};

template <class P>
void run_op(Session& session, const op::Norm<P>& op, Numbers) {
  norm_rows(session, LoadRows<P>{op.x}, NormOf<P>(op), op.x.rows, op.x.columns);
}

/// dx = skip + rstd · (u − mean(u) − x̂ · mean(u ⊙ x̂)) for u = dy ⊙ gain, without mean(u) for rms; and for every part of
/// the rows Σ dy ⊙ x̂ and Σ dy of each column.
template <class P, int Warps, int Chunks>
struct NormBackwardRows {
  using Team = RowTeam<Warps, Chunks>;
  using Shared = typename Team::Shared;
  static constexpr const char* name = "norm backward";
  static constexpr int threads = Team::threads;
  NormKind kind;
  RowsOf<const typename P::Stream> x, dy, skip;
  float skip_scale;
  const typename P::Statistic *mean, *rstd;
  RowsOf<const typename P::Weight> gain;
  RowsOf<typename P::Stream> dx;
  float *dgain, *dbias;  ///< (parts, columns)
  int rows, columns, parts;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int first = (thread.warp() % Warps * warp_size + thread.lane()) * octet;
    constexpr int step = Warps * warp_size * octet;
    const int part = thread.block() * Team::teams + thread.warp() / Warps;
    if (Warps <= warp_size && part >= parts) return;  // whole teams, and a team that has a block is always there
    const float size = float(columns);
    const bool centers = kind == NormKind::layer;
    int turn = 0;
    const auto sum = [&](float value) { return team_sum<Team, Warps>(thread, value, turn); };

    Octet gains[Chunks], gain_sums[Chunks], bias_sums[Chunks];
    unrolled<Chunks>([&](int k) {
      if (first + k * step < columns) gains[k] = gain.load(thread, 0, first + k * step);
    });
    for (int row = part; row < rows; row += parts) {
      const float center = centers ? float(thread.load(mean + row)) : 0.f, scale = float(thread.load(rstd + row));
      Octet normal[Chunks], u[Chunks];
      float sum_u = 0, sum_ux = 0;
      unrolled<Chunks>([&](int k) {
        const int column = first + k * step;
        if (column >= columns) return;
        const Octet values = x.load(thread, row, column), gradient = dy.load(thread, row, column);
        for (int i = 0; i < octet; ++i) {
          if (column + i >= columns) continue;
          normal[k].at[i] = (values.at[i] - center) * scale;
          u[k].at[i] = gradient.at[i] * gains[k].at[i];
          gain_sums[k].at[i] += gradient.at[i] * normal[k].at[i];
          bias_sums[k].at[i] += gradient.at[i];
          sum_u += u[k].at[i];
          sum_ux += u[k].at[i] * normal[k].at[i];
        }
      });
      const float mean_u = centers ? sum(sum_u) / size : 0.f, mean_ux = sum(sum_ux) / size;
      unrolled<Chunks>([&](int k) {
        const int column = first + k * step;
        if (column >= columns) return;
        Octet result;
        if (skip) result = skip.load(thread, row, column);
        for (int i = 0; i < octet; ++i)
          result.at[i] = skip_scale * result.at[i] + scale * (u[k].at[i] - mean_u - normal[k].at[i] * mean_ux);
        dx.store(thread, row, column, result);
      });
    }
    unrolled<Chunks>([&](int k) {
      const int column = first + k * step;
      if (column >= columns) return;
      store_octet(thread, dgain + std::int64_t(part) * columns + column, gain_sums[k], columns - column, false);
      if (dbias != nullptr)
        store_octet(thread, dbias + std::int64_t(part) * columns + column, bias_sums[k], columns - column, false);
    });
  }
};

template <class P>
void run_op(Session& session, const WithParts<op::NormBackward<P>>& with, Numbers) {
  const op::NormBackward<P>& op = with.op;
  const int rows = op.dy.rows, columns = op.dy.columns, parts = parts_of(rows);
  if (rows == 0) return;
  float* const dgain = with.parts;
  float* const dbias = op.dbias.empty() ? nullptr : dgain + std::int64_t(parts) * columns;
  with_team(columns, "norm backward", [&]<int Warps, int Chunks>() {
    using K = NormBackwardRows<P, Warps, Chunks>;
    session.launch((parts + K::Team::teams - 1) / K::Team::teams,
                   K{op.kind, op.x, op.dy, op.skip.value, op.skip.value ? float(op.skip.scale) : 0.f, op.mean.data(),
                     op.rstd.data(), op.gain, op.dx, dgain, dbias, rows, columns, parts});
  });
  add_parts(session, dgain, parts, columns, op.dgain);
  add_parts(session, dbias, parts, columns, op.dbias);
}

}  // namespace fathom::inline FATHOM_ABI::cuda
