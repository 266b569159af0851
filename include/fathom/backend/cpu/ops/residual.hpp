// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/deferred.hpp>
#include <fathom/backend/cpu/norm.hpp>
#include <fathom/backend/cpu/ops/norm.hpp>
#include <fathom/backend/cpu/rows.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <fathom/backend/cpu/update.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Residual adds, and the copies, sums and variance of streams. Every lane takes its own rows; gradients of learned
/// scales are summed shard by shard, and the shards once a frame closes.
template <class P, class Matmul>
struct ResidualOps {
  using T = typename P::Stream;
  using Gradient = typename P::Gradient;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static constexpr std::int64_t held_bytes(const op::ResidualAddBackward<P>& op, const Capacity& capacity) {
    return partials_bytes<Gradient>(capacity, op.da.size()) + partials_bytes<Gradient>(capacity, op.db.size());
  }
  static constexpr std::int64_t held_bytes(const op::ResidualAddNormBackward<P>& op, const Capacity& capacity) {
    return NormOps<P, Matmul>::bytes_by_shard(op, capacity);
  }
  static constexpr std::int64_t held_bytes(const op::WeightedSumBackward<P>& op, const Capacity& capacity) {
    return partials_bytes<Gradient>(capacity, std::size_t(op.count));
  }

  static constexpr std::int64_t held_bytes(const op::ShiftBackward<P>& op, const Capacity& capacity) {
    return partials_bytes<Gradient>(capacity, op.dshift.size());
  }

  static void run(Lane& lane, const op::ResidualAddNorm<P>& op) {
    const Range rows = lane.share().rows;
    const bool plain_branch = op.b.constant == 1 && op.b.learned.empty() && !op.dropout.active();
    if (!plain_branch) {
      run(lane, op::ResidualAdd<P>{.x = op.x, .f = op.f, .a = op.a, .b = op.b, .dropout = op.dropout, .y = op.z});
      return NormOps<P, Matmul>::run(lane, op::Norm<P>{.kind = op.kind,
                                                       .epsilon = op.epsilon,
                                                       .x = op.z,
                                                       .gain = op.gain,
                                                       .bias = op.bias,
                                                       .y = op.y,
                                                       .mean = op.mean,
                                                       .rstd = op.rstd});
    }
    const bool contiguous = op.x.contiguous() && op.f.contiguous() && op.z.contiguous() && is_contiguous(op.y);
    const auto forward = [&]<NormKind Kind>(auto a) {
      each_piece(rows, contiguous, [&](int first, std::size_t count) {
        residual_add_norm_forward<Kind, T>(count, std::size_t(op.x.columns), T(op.epsilon), op.gain.data(),
                                           op.bias.empty() ? nullptr : op.bias.data(), a, op.x.row(first),
                                           op.f.row(first), op.z.row(first), row_of(op.y, first),
                                           offset(op.mean.data(), first), op.rstd.data() + first);
      });
    };
    with_scale(op.a, [&](auto a) {
      op.kind == NormKind::layer ? forward.template operator()<NormKind::layer>(a)
                                 : forward.template operator()<NormKind::rms>(a);
    });
  }

  static void run(Lane& lane, const op::ResidualAdd<P>& op) {
    with_scales(op, [&](auto a, auto b) {
      const auto add = [&](const auto& f) {
        each_place<T>(lane.packing(), lane.share().rows, op.dropout, op.y.columns, [&](int r, auto place, auto kept) {
          const Simd<T> branch = b.at(place) * kept(place.load(f.row(r)));
          place.store(row_of(op.y, r), op.x ? fma(a.at(place), place.load(op.x.row(r)), branch) : branch);
        });
      };
      in_its_type(op.f, add);
    });
  }

  static void run(Lane& lane, const op::ResidualAddBackward<P>& op) {
    sum_products(lane, op.da, op.a.constant, Dropout{}, op.dy, op.x);
    sum_products(lane, op.db, op.b.constant, op.dropout, op.dy, op.f);
    with_scales(op, [&](auto a, auto b) {
      each_place<T>(lane.packing(), lane.share().rows, op.dropout, op.dy.columns, [&](int r, auto place, auto kept) {
        const Simd<T> dy = place.load(op.dy.row(r));
        if (op.dx) place.store(op.dx.row(r), a.at(place) * dy);
        if (op.df) place.store(row_of(op.df, r), b.at(place) * kept(dy));
      });
    });
  }

  static void run(Lane& lane, const op::ResidualAddNormBackward<P>& op) {
    if (!op.df || op.dropout.active()) {
      NormOps<P, Matmul>::run(lane, op::NormBackward<P>{.kind = op.kind,
                                                        .x = op.z,
                                                        .mean = op.mean,
                                                        .rstd = op.rstd,
                                                        .gain = op.gain,
                                                        .dy = op.dy,
                                                        .skip = {},
                                                        .dx = op.dz,
                                                        .dgain = op.dgain,
                                                        .dbias = op.dbias});
      if (op.df)
        run(lane, op::ResidualAddBackward<P>{.x = {},
                                             .f = {},
                                             .a = {},
                                             .b = {op.b, {}},
                                             .dropout = op.dropout,
                                             .dy = op.dz,
                                             .dx = {},
                                             .df = op.df,
                                             .da = {},
                                             .db = {}});
      return;
    }
    const bool contiguous = op.z.contiguous() && op.dy.contiguous() && op.dz.contiguous() && op.df.contiguous();
    const auto backward = [&]<NormKind Kind>(int first, std::size_t count, Gradient* dgain, Gradient* dbias) {
      residual_add_norm_backward<Kind, T>(
          count, std::size_t(op.z.columns), {op.z.row(first), offset(op.mean.data(), first), op.rstd.data() + first},
          op.gain.data(), T(op.b), op.dy.row(first), op.dz.row(first), op.df.row(first), dgain, dbias);
    };
    NormOps<P, Matmul>::by_shard(lane, op, contiguous, backward);
  }

  static void run(Lane& lane, const op::Shift<P>& op) {
    each_piece(lane.share().rows, op.x.contiguous() && op.y.contiguous(), [&](int first, std::size_t count) {
      const Simd<T> shift = broadcast(T(op.shift[0]));
      const auto* x = op.x.row(first);
      auto* y = op.y.row(first);
      sweep<T>(count * std::size_t(op.x.columns), [&](auto place) { place.store(y, place.load(x) + shift); });
    });
  }

  static void run(Lane& lane, const op::ShiftBackward<P>& op) {
    const int shards = lane.packing().shard_count();
    Gradient* partials = lane.workspace().template take<Gradient>(shards);
    in_its_type(op.dy, [&](const auto& dy) {
      for (int shard = lane.share().shards.begin; shard < lane.share().shards.end; ++shard) {
        const Range rows{lane.packing().shards[shard], lane.packing().shards[shard + 1]};
        Simd<T> sum{};
        each_piece(rows, dy.contiguous(), [&](int first, std::size_t count) {
          const auto* row = dy.row(first);
          Simd<T> total = sum;  // in a register
          sweep<T>(count * std::size_t(dy.columns), [&](auto place) { total += place.load(row); });
          sum = total;
        });
        partials[shard] = horizontal_sum(sum);
      }
    });
    lane.defer({Reduction<Gradient>{partials, shards, 1, op.dshift.data()}});
  }

  static void run(Lane& lane, const op::Copy<P>& op) {
    const Range rows = lane.share().rows;
    if (!op.add) return copy_rows<T>(rows, op.x, op.y);
    each_piece(rows, op.x.contiguous() && op.y.contiguous(), [&](int first, std::size_t count) {
      axpy<T>(count * std::size_t(op.x.columns), T(1), op.x.row(first), op.y.row(first));
    });
  }

  static void run(Lane& lane, const op::Zero<P>& op) {
    each_piece(lane.share().rows, op.y.contiguous(), [&](int first, std::size_t count) {
      std::fill_n(op.y.row(first), count * std::size_t(op.y.columns), T(0));
    });
  }

  static void run(Lane& lane, const op::WeightedSum<P>& op) {
    each_place<T>(lane.packing(), lane.share().rows, Dropout{}, op.y.columns, [&](int r, auto place, auto) {
      Simd<T> sum{};
      for (int k = 0; k < op.count; ++k)
        sum = fma(broadcast(T(op.weights[k])), place.load(op.first.row(r) + k * op.pitch), sum);
      place.store(row_of(op.y, r), sum);
    });
  }

  static void run(Lane& lane, const op::WeightedSumBackward<P>& op) {
    const int shards = lane.packing().shard_count();
    const bool contiguous = op.first.contiguous() && op.dy.contiguous() && op.dfirst.contiguous();
    Gradient* partials = lane.workspace().template take<Gradient>(std::int64_t(shards) * op.count);
    for (int shard = lane.share().shards.begin; shard < lane.share().shards.end; ++shard) {
      const Range rows{lane.packing().shards[shard], lane.packing().shards[shard + 1]};
      for (int k = 0; k < op.count; ++k) {
        Simd<T> sum{};
        each_piece(rows, contiguous, [&](int first, std::size_t piece) {
          const std::size_t count = piece * std::size_t(op.dy.columns);
          const T *dy = op.dy.row(first), *x = op.first.row(first) + k * op.pitch;
          axpy<T>(count, T(op.weights[k]), dy, op.dfirst.row(first) + k * op.pitch);
          Simd<T> products = sum;  // in a register
          sweep<T>(count, [&](auto place) { products = fma(place.load(dy), place.load(x), products); });
          sum = products;
        });
        partials[std::int64_t(shard) * op.count + k] = horizontal_sum(sum);
      }
    }
    lane.defer({Reduction<Gradient>{partials, shards, op.count, op.dweights.data()}});
  }

  /// By one lane: the op is for one profiling pass.
  static void run(Lane& lane, const op::Variance<P>& op) {
    lane.barrier();
    if (lane.first()) *op.result = variance(op.x);
    lane.barrier();
  }

 private:
  /// f(matrix) with the one type that an operand has of two.
  template <class F>
  static void in_its_type(const StreamOperand<P>& operand, F&& f) {
    if constexpr (branches_read_stream<P>)
      f(operand);
    else
      operand.stream ? f(operand.stream) : f(operand.branch);
  }
  /// f(a, b) with the kernel's forms of both scales.
  template <class F>
  static void with_scales(const auto& op, F&& f) {
    with_scale(op.a, [&](auto a) { with_scale(op.b, [&](auto b) { f(a, b); }); });
  }
  /// f(scale) with the kernel's form of a residual scale: one number, or one for each column.
  template <class F>
  static void with_scale(const ResidualScale<P>& scale, F&& f) {
    if (scale.learned.size() > 1)
      f(PerColumn<T, typename P::Weight>{scale.learned.data(), T(scale.constant)});
    else
      f(Everywhere<T>{T(scale.constant) * (scale.learned.empty() ? T(1) : T(scale.learned[0]))});
  }

  /// sum += constant · Σ a ⊙ dropout(b) over all rows: per column, or in one number.
  template <class A, class B>
  static void sum_products(Lane& lane, Elements<Gradient> sum, double constant, const Dropout& dropout,
                           const Matrix<const A>& a, const Matrix<const B>& b) {
    if (sum.empty()) return;
    const int size = int(sum.size()), shards = lane.packing().shard_count();
    Gradient* partials = lane.workspace().template take<Gradient>(std::int64_t(shards) * size);
    for (int shard = lane.share().shards.begin; shard < lane.share().shards.end; ++shard) {
      Gradient* partial = partials + std::int64_t(shard) * size;
      std::fill_n(partial, size, Gradient(0));
      const Range rows{lane.packing().shards[shard], lane.packing().shards[shard + 1]};
      const auto add = [&](int r, int c, Gradient factor) {
        partial[size > 1 ? c : 0] += Gradient(constant) * (factor * Gradient(a.row(r)[c])) * Gradient(b.row(r)[c]);
      };
      if (dropout.active())
        each_dropped<Gradient>(lane.packing(), rows, {0, a.columns}, dropout,
                               [&](int r, int column, const auto* factors) {
                                 for (int c = column; c < std::min(a.columns, column + Dropout::block); ++c)
                                   add(r, c, factors[c - column]);
                               });
      else
        for (int r = rows.begin; r < rows.end; ++r)
          for (int c = 0; c < a.columns; ++c) add(r, c, Gradient(1));
    }
    lane.defer({Reduction<Gradient>{partials, shards, size, sum.data()}});
  }

  static double variance(const Matrix<const typename P::Activation>& x) {
    const auto mean_over_all = [&](auto&& f) {
      double sum = 0;
      for (int r = 0; r < x.rows; ++r)
        for (int c = 0; c < x.columns; ++c) sum += f(double(x.row(r)[c]));
      return sum / (double(x.rows) * x.columns);
    };
    const double mean = mean_over_all([](double value) { return value; });
    return mean_over_all([mean](double value) { return (value - mean) * (value - mean); });
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
