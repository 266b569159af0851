// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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

/// y = norm(z) of a few rows of a team, so that gain and bias are read once for them. `Load` makes z, an octet at a
/// time, and stores it if it is new: load(thread, mask, row, column), where mask = load.mask_of(thread) and, for each
/// row, load.move(thread, mask, row).
template <class P, class Load, int Warps, int Chunks>
struct NormRows {
  using Team = RowTeam<Warps, Chunks>;
  using Shared = typename Team::Shared;
  static constexpr const char* name = Load::name;
  static constexpr int threads = Team::threads, block_rows = 8 * Team::teams;
  Load load;
  NormOf<P> norm;
  int rows, columns;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int first = (thread.warp() % Warps * warp_size + thread.lane()) * octet;
    constexpr int step = Warps * warp_size * octet;
    int turn = 0;
    const auto sum = [&](float x) { return team_sum<Team, Warps>(thread, x, turn); };
    const float size = float(columns);

    Octet gain[Chunks], bias[Chunks];
    unrolled<Chunks>([&](int k) {
      const int column = first + k * step;
      if (column >= columns) return;
      gain[k] = norm.gain.load(thread, 0, column);
      if (norm.bias) bias[k] = norm.bias.load(thread, 0, column);
    });
    RowMask mask = load.mask_of(thread);
    const int end = std::min(rows, (thread.block() + 1) * block_rows);
    for (int next = thread.block() * block_rows; next < end; next += Team::teams) {  // of all teams: they sum together
      const int row = next + thread.warp() / Warps;
      const bool here = row < rows;
      if (here) load.move(thread, mask, row);
      Octet z[Chunks];
      float total = 0;
      unrolled<Chunks>([&](int k) {
        const int column = first + k * step;
        if (here && column < columns) z[k] = load(thread, mask, row, column);
        for (const float x : z[k].at) total += x;
      });
      const float mean = norm.kind == NormKind::layer ? sum(total) / size : 0.f;
      float squares = 0;
      unrolled<Chunks>([&](int k) {
        for (int i = 0; i < octet; ++i)
          if (first + k * step + i < columns) squares += (z[k].at[i] - mean) * (z[k].at[i] - mean);
      });
      const float rstd = 1 / std::sqrt(sum(squares) / size + norm.epsilon);
      if (!here) continue;
      unrolled<Chunks>([&](int k) {
        const int column = first + k * step;
        if (column >= columns) return;
        Octet y;
        for (int i = 0; i < octet; ++i) y.at[i] = (z[k].at[i] - mean) * rstd * gain[k].at[i] + bias[k].at[i];
        norm.y.store(thread, row, column, y);
      });
      if (first != 0) continue;
      if (norm.kind == NormKind::layer) thread.store(norm.mean + row, mean);
      thread.store(norm.rstd + row, rstd);
    }
  }
};

template <class P, class Load>
void norm_rows(Session& session, const Load& load, const NormOf<P>& norm, int rows, int columns) {
  if (rows == 0) return;
  with_team(columns, Load::name, [&]<int Warps, int Chunks>() {
    using K = NormRows<P, Load, Warps, Chunks>;
    session.launch((rows + K::block_rows - 1) / K::block_rows, K{load, norm, rows, columns});
  });
}

/// The rows as they are.
template <class P>
struct LoadRows {
  static constexpr const char* name = "norm";
  RowsOf<const typename P::Stream> x;

  template <class Thread>
  constexpr RowMask mask_of(Thread&) const {
    return {};
  }
  template <class Thread>
  constexpr void move(Thread&, RowMask&, int) const {}
  template <class Thread>
  constexpr Octet operator()(Thread& thread, const RowMask&, int row, int column) const {
    return x.load(thread, row, column);
  }
};

template <class P>
void run_op(Session& session, const op::Norm<P>& op, Numbers) {
  norm_rows(session, LoadRows<P>{op.x}, NormOf<P>(op), op.x.rows, op.x.columns);
}

/// What a residual branch gets of the gradient of a sum, or nothing.   df = scale · dropout'(dz).
template <class P>
struct BranchOf {
  RowsOf<typename P::Activation> df;
  float scale = 1;
  MaskOf mask;
  PlacesOf places;
};

/// dx = skip + rstd · (u − mean(u) − x̂ · mean(u ⊙ x̂)) for u = dy ⊙ gain, without mean(u) for rms; what a branch gets of
/// it, if there is one; and for every part of the rows Σ dy ⊙ x̂ and Σ dy of each column.
template <class P, int Warps, int Chunks>
struct NormBackwardRows {
  using Team = RowTeam<Warps, Chunks>;
  static constexpr const char* name = "norm backward";
  static constexpr int threads = Team::threads, team_threads = Warps * warp_size;
  struct Shared : Team::Shared {
    float sums[Team::teams > 1 ? Team::teams - 1 : 1][Chunks][octet][team_threads];  ///< of all teams but the first
  };
  NormKind kind;
  RowsOf<const typename P::Stream> x, dy, skip;
  float skip_scale;
  const typename P::Statistic *mean, *rstd;
  RowsOf<const typename P::Weight> gain;
  RowsOf<typename P::Stream> dx;
  BranchOf<P> branch;
  float *dgain, *dbias;  ///< (parts, columns)
  int rows, columns, parts;  ///< a part is a block's

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int team = thread.warp() / Warps, first = thread.index() % team_threads * octet;
    constexpr int step = team_threads * octet;
    const float size = float(columns);
    const bool centers = kind == NormKind::layer;
    int turn = 0;
    const auto sum = [&](float value) { return team_sum<Team, Warps>(thread, value, turn); };

    Octet gains[Chunks], gain_sums[Chunks], bias_sums[Chunks];
    unrolled<Chunks>([&](int k) {
      if (first + k * step < columns) gains[k] = gain.load(thread, 0, first + k * step);
    });
    RowMask mask = branch.mask.load(thread);
    // A row for each team: they sum together.
    for (int next = thread.block() * Team::teams; next < rows; next += parts * Team::teams) {
      const int row = next + team;
      const bool here = row < rows;
      const float center = here && centers ? float(thread.load(mean + row)) : 0.f;
      const float scale = here ? float(thread.load(rstd + row)) : 0.f;
      Octet normal[Chunks], u[Chunks];
      float sum_u = 0, sum_ux = 0;
      unrolled<Chunks>([&](int k) {
        const int column = first + k * step;
        if (!here || column >= columns) return;
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
      if (!here) continue;
      if (branch.mask.active()) mask.place = branch.places.place_of_warp(thread, row);
      unrolled<Chunks>([&](int k) {
        const int column = first + k * step;
        if (column >= columns) return;
        Octet result;
        if (skip) result = skip.load(thread, row, column);
        for (int i = 0; i < octet; ++i)
          result.at[i] = skip_scale * result.at[i] + scale * (u[k].at[i] - mean_u - normal[k].at[i] * mean_ux);
        dx.store(thread, row, column, result);
        if (!branch.df) return;
        mask.apply(column, result);
        for (float& value : result.at) value *= branch.scale;
        branch.df.store(thread, row, column, result);
      });
    }
    store_part(thread, team, gain_sums, dgain);
    if (dbias != nullptr) store_part(thread, team, bias_sums, dbias);
  }

 private:
  /// The first team adds up what all teams of the block have, in their order.
  template <class Thread>
  constexpr void store_part(Thread& thread, int team, Octet (&sums)[Chunks], float* to) const {
    const int lane = thread.index() % team_threads;
    if constexpr (Team::teams > 1) {
      auto& others = thread.shared().sums;
      thread.barrier();  // all have read the last sums
      if (team > 0)
        unrolled<Chunks>([&](int k) {
          for (int i = 0; i < octet; ++i) others[team - 1][k][i][lane] = sums[k].at[i];
        });
      thread.barrier();
      for (int other = 0; team == 0 && other < Team::teams - 1; ++other)
        unrolled<Chunks>([&](int k) {
          for (int i = 0; i < octet; ++i) sums[k].at[i] += others[other][k][i][lane];
        });
    }
    if (team > 0) return;
    unrolled<Chunks>([&](int k) {
      const int column = (lane + k * team_threads) * octet;
      if (column < columns)
        store_octet(thread, to + std::int64_t(thread.block()) * columns + column, sums[k], columns - column, false);
    });
  }
};

/// x is what was normed, dx where its gradient goes.
template <class P>
void norm_backward_rows(Session& session, const auto& op, RowsOf<const typename P::Stream> x, const Skip<P>& skip,
                        RowsOf<typename P::Stream> dx, const BranchOf<P>& branch, float* parts_memory) {
  const int rows = op.dy.rows, columns = op.dy.columns;
  if (rows == 0) return;
  with_team(columns, "norm backward", [&]<int Warps, int Chunks>() {
    using K = NormBackwardRows<P, Warps, Chunks>;
    const int parts = (parts_of(rows) + K::Team::teams - 1) / K::Team::teams;
    float* const dgain = parts_memory;
    float* const dbias = op.dbias.empty() ? nullptr : dgain + std::int64_t(parts) * columns;
    session.launch(parts, K{op.kind, x, op.dy, skip.value, skip.value ? float(skip.scale) : 0.f, op.mean.data(),
                            op.rstd.data(), op.gain, dx, branch, dgain, dbias, rows, columns, parts});
    add_parts(session, dgain, parts, columns, op.dgain);
    add_parts(session, dbias, parts, columns, op.dbias);
  });
}

template <class P>
void run_op(Session& session, const WithParts<op::NormBackward<P>>& with, Numbers) {
  norm_backward_rows<P>(session, with.op, with.op.x, with.op.skip, with.op.dx, {}, with.parts);
}

template <class P>
void run_op(Session& session, const WithParts<OnRows<op::ResidualAddNormBackward<P>>>& with, Numbers numbers) {
  const op::ResidualAddNormBackward<P>& op = with.op.op;
  norm_backward_rows<P>(session, op, op.z, {}, op.dz,
                        {op.df, float(op.b), {op.dropout.rate, numbers.next<Key>()}, PlacesOf(with.op.rows)},
                        with.parts);
}

}  // namespace fathom::inline FATHOM_ABI::cuda
