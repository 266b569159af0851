// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/deferred.hpp>
#include <fathom/backend/cpu/norm.hpp>
#include <fathom/backend/cpu/rows.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Norms. Every lane takes its own rows; gradients of gains and biases are summed shard by shard, and the shards once a
/// frame closes.
template <class P, class Matmul>
struct NormOps {
  using T = typename P::Stream;
  using Gradient = typename P::Gradient;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static constexpr std::int64_t held_bytes(const op::NormBackward<P>& op, const Capacity& capacity) {
    return bytes_by_shard(op, capacity);
  }

  static void run(Lane& lane, const op::Norm<P>& op) {
    const auto forward = [&]<NormKind Kind>() {
      each_piece(lane.share().rows, op.x.contiguous() && is_contiguous(op.y), [&](int first, std::size_t count) {
        norm_forward<Kind, T>(count, std::size_t(op.x.columns), T(op.epsilon), op.gain.data(),
                              op.bias.empty() ? nullptr : op.bias.data(), op.x.row(first), row_of(op.y, first),
                              offset(op.mean.data(), first), op.rstd.data() + first);
      });
    };
    op.kind == NormKind::layer ? forward.template operator()<NormKind::layer>()
                               : forward.template operator()<NormKind::rms>();
  }

  static void run(Lane& lane, const op::NormBackward<P>& op) {
    const auto& skip = op.skip.value;
    const bool contiguous = op.x.contiguous() && op.dy.contiguous() && skip.contiguous() && op.dx.contiguous();
    by_shard(lane, op, contiguous, [&]<NormKind Kind>(int first, std::size_t count, Gradient* dgain, Gradient* dbias) {
      const auto width = std::size_t(op.x.columns);
      const NormSaved<T> saved{op.x.row(first), offset(op.mean.data(), first), op.rstd.data() + first};
      const T* dy = op.dy.row(first);
      T* dx = op.dx.row(first);
      if (!skip)
        norm_backward<Kind, T>(count, width, saved, op.gain.data(), dy, dx, dgain, dbias);
      else
        norm_backward_with_skip<Kind, T>(count, width, saved, op.gain.data(), dy, skip.row(first), T(op.skip.scale), dx,
                                         dgain, dbias);
    });
  }

  /// What the sums of `by_shard` take of the workspace.
  static constexpr std::int64_t bytes_by_shard(const auto& op, const Capacity& capacity) {
    return partials_bytes<Gradient>(capacity, op.dgain.size()) + partials_bytes<Gradient>(capacity, op.dbias.size());
  }

  /// A norm's backward pass: f<Kind>(first, count, dgain, dbias) for pieces of this lane's rows, with sums that are
  /// those of a shard of rows and are added up once a frame closes.
  static void by_shard(Lane& lane, const auto& op, bool contiguous, auto&& f) {
    const int width = op.dy.columns, shards = lane.packing().shard_count();
    Gradient* dgain = lane.workspace().template take<Gradient>(std::int64_t(shards) * width);
    Gradient* dbias =
        op.dbias.empty() ? nullptr : lane.workspace().template take<Gradient>(std::int64_t(shards) * width);
    for (int shard = lane.share().shards.begin; shard < lane.share().shards.end; ++shard) {
      const Range rows{lane.packing().shards[shard], lane.packing().shards[shard + 1]};
      Gradient* gain = dgain + std::int64_t(shard) * width;
      Gradient* bias = dbias == nullptr ? nullptr : dbias + std::int64_t(shard) * width;
      std::fill_n(gain, width, Gradient(0));
      if (bias != nullptr) std::fill_n(bias, width, Gradient(0));
      each_piece(rows, contiguous, [&](int first, std::size_t count) {
        op.kind == NormKind::layer ? f.template operator()<NormKind::layer>(first, count, gain, bias)
                                   : f.template operator()<NormKind::rms>(first, count, gain, bias);
      });
    }
    lane.defer({Reduction<Gradient>{dgain, shards, width, op.dgain.data()}});
    if (dbias != nullptr) lane.defer({Reduction<Gradient>{dbias, shards, width, op.dbias.data()}});
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
