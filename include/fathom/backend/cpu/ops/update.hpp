// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <fathom/backend/cpu/adafactor.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/deferred.hpp>
#include <fathom/backend/cpu/update.hpp>
#include <fathom/backend/ops.hpp>
#include <fathom/core/random.hpp>
#include <numeric>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Passes over flat buffers. Every lane takes a range of fixed shards and waits for the others, because the next pass
/// may cut otherwise; sums over shards are taken in their order.
template <class P, class Matmul>
struct UpdateOps {
  using Master = typename P::Master;
  using Gradient = typename P::Gradient;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;
  static constexpr std::int64_t shard = 1 << 16;

  static constexpr std::int64_t shards_of(std::size_t size) { return (std::int64_t(size) + shard - 1) / shard; }
  static constexpr std::int64_t shared_bytes(const op::SumOfSquares<P>& op) {
    return align_up(shards_of(op.x.size()) * std::int64_t(sizeof(double)));
  }

  static constexpr std::int64_t shared_bytes(const op::AdafactorUpdate<P>&) {
    return align_up(std::int64_t(sizeof(AdafactorSums)));
  }

  static void run(Lane& lane, const op::Initialize<P>& op) {
    using T = typename P::Master;
    const Philox random(op.key);
    const std::size_t size = op.x.size(), pairs = (size + 1) / 2;
    const std::size_t end = pairs * std::size_t(lane.number() + 1) / std::size_t(lane.parts());
    for (std::size_t k = pairs * std::size_t(lane.number()) / std::size_t(lane.parts()); k < end; ++k) {
      const auto pair = op.deviation == 0 ? std::array<double, 2>{} : normals(random(std::uint64_t(k)));
      op.x[2 * k] = T(op.center + op.deviation * pair[0]);
      if (2 * k + 1 < size) op.x[2 * k + 1] = T(op.center + op.deviation * pair[1]);
    }
    lane.barrier();
  }

  /// By one lane: the op is for one pass that looks for an error.
  template <class T>
  static void run(Lane& lane, const op::FirstNonFinite<T>& op) {
    lane.barrier();
    if (lane.first()) *op.result = first_non_finite(op.x);
    lane.barrier();
  }

  static void run(Lane& lane, const op::Round<P>& op) {
    each_shard(lane, op.x.size(),
               [&](std::int64_t, std::int64_t begin, std::size_t count) { round(op.x, op.y, begin, count); });
  }

  static void run(Lane& lane, const op::TensorSquares<P>& op) {
    lane.barrier();
    for (std::size_t k = std::size_t(lane.number()); k < op.table.size(); k += std::size_t(lane.parts()))
      op.results[k] = sum_of_squares<Gradient>(std::size_t(op.table[k].size()), op.x.data() + op.table[k].offset);
    lane.barrier();
  }

  static void run(Lane& lane, const op::SumOfSquares<P>& op) {
    const std::int64_t mark = lane.workspace().used();
    const std::int64_t shards = shards_of(op.x.size());
    double* partials = lane.workspace().template take<double>(shards);
    lane.barrier();  // other lanes may still write the gradients
    each_shard(lane, op.x.size(), [&](std::int64_t index, std::int64_t begin, std::size_t count) {
      partials[index] = sum_of_squares<Gradient>(count, op.x.data() + begin);
    });
    if (lane.first()) *op.result = std::accumulate(partials, partials + shards, 0.0);
    lane.barrier();
    lane.workspace().release(mark);
  }

  static void run(Lane& lane, const op::Average<P>& op) {
    each_shard(lane, op.x.size(), [&](std::int64_t, std::int64_t begin, std::size_t count) {
      average_update<Master>(count, op.decay, op.x.data() + begin, op.average.data() + begin);
    });
  }

  static void run(Lane& lane, const op::SgdUpdate<P>& op) {
    const SgdStep step{.rate = op.target.learning_rate,
                       .beta = op.momentum_factor,
                       .decay = op.target.weight_decay,
                       .nesterov = op.nesterov,
                       .gradient_scale = op.target.gradient_scale,
                       .clear_gradient = true};
    update_weights(lane, op.target, [&](std::int64_t begin, std::size_t count) {
      sgd_update<Master>(count, step, op.target.weights.data() + begin, op.target.gradient.data() + begin,
                         op.momentum.empty() ? nullptr : op.momentum.data() + begin);
    });
  }

  static void run(Lane& lane, const op::AdamUpdate<P>& op) {
    const AdamStep step{.rate = op.target.learning_rate,
                        .beta1 = op.beta1,
                        .beta2 = op.beta2,
                        .epsilon = op.epsilon,
                        .decay = op.target.weight_decay,
                        .decoupled_decay = op.decoupled,
                        .correction1 = 1 - std::pow(op.beta1, double(op.step)),
                        .correction2 = 1 - std::pow(op.beta2, double(op.step)),
                        .gradient_scale = op.target.gradient_scale,
                        .clear_gradient = true};
    update_weights(lane, op.target, [&](std::int64_t begin, std::size_t count) {
      adam_update<Master>(count, step, op.target.weights.data() + begin, op.target.gradient.data() + begin,
                          op.first.data() + begin, op.second.data() + begin);
    });
  }

  static void run(Lane& lane, const op::LionUpdate<P>& op) {
    const LionStep step{.rate = op.target.learning_rate,
                        .beta1 = op.beta1,
                        .beta2 = op.beta2,
                        .decay = op.target.weight_decay,
                        .gradient_scale = op.target.gradient_scale,
                        .clear_gradient = true};
    update_weights(lane, op.target, [&](std::int64_t begin, std::size_t count) {
      lion_update<Master>(count, step, op.target.weights.data() + begin, op.target.gradient.data() + begin,
                          op.momentum.data() + begin);
    });
  }

  /// Tensors that are large beside a lane's share of the work are done by all lanes together; the others are dealt out.
  static void run(Lane& lane, const op::AdafactorUpdate<P>& op) {
    const std::int64_t mark = lane.workspace().used();
    AdafactorSums& common = *lane.workspace().template take<AdafactorSums>(1);
    const auto is_large = [&](const TensorPlace& info) {
      return info.size() * lane.parts() * 8 > std::int64_t(op.target.weights.size());
    };
    each_tensor(op, [&](const TensorPlace& info, const AdafactorStep& step, const FactoredTensor<Master>& tensor) {
      if (!is_large(info)) return;
      const auto wait = [&] { lane.barrier(); };
      adafactor_update(step, tensor, lane.number(), lane.parts(), common, wait, rounding(op.target, info));
    });
    std::int64_t small = 0, before = 0;
    for (const TensorPlace& info : op.table) small += is_large(info) ? 0 : info.size();
    each_tensor(op, [&](const TensorPlace& info, const AdafactorStep& step, const FactoredTensor<Master>& tensor) {
      if (is_large(info)) return;
      AdafactorSums own;
      if (before * lane.parts() / small == lane.number())
        adafactor_update(step, tensor, 0, 1, own, [] {}, rounding(op.target, info));
      before += info.size();
    });
    lane.barrier();
    lane.workspace().release(mark);
  }

 private:
  template <class T>
  static std::int64_t first_non_finite(const Matrix<const T>& x) {
    for (int r = 0; r < x.rows; ++r)
      for (int c = 0; c < x.columns; ++c)
        if (!std::isfinite(Computed<T>(x.row(r)[c]))) return std::int64_t(r) * x.columns + c;
    return -1;
  }

  /// f(info, step, tensor) for the tensors of the table.
  template <class F>
  static void each_tensor(const op::AdafactorUpdate<P>& op, F&& f) {
    const UpdateTarget<P>& target = op.target;
    AdafactorStep step{.rate = target.learning_rate,
                       .relative_rate = std::min(target.learning_rate, 1 / std::sqrt(double(op.step))),
                       .decay = 0,
                       .beta = 1 - std::pow(double(op.step), -op.decay_exponent),
                       .epsilon1 = op.epsilon1,
                       .epsilon2 = op.epsilon2,
                       .clip_threshold = op.clip_threshold,
                       .gradient_scale = target.gradient_scale};
    Master* moments = op.moments.data();
    for (const TensorPlace& info : op.table) {
      const int row_moments = info.vector ? 0 : info.rows;
      step.decay = info.decayed ? target.weight_decay : 0;
      f(info, step,
        FactoredTensor<Master>{.rows = info.rows,
                               .columns = info.columns,
                               .weight = target.weights.data() + info.offset,
                               .gradient = target.gradient.data() + info.offset,
                               .row = row_moments > 0 ? moments : nullptr,
                               .column = moments + row_moments});
      moments += row_moments + info.columns;
    }
  }

  /// y = x, rounded, in the elements from `begin` on.
  static void round(Elements<const Master> x, Elements<typename P::Weight> y, std::int64_t begin, std::size_t count) {
    sweep<Master>(count, [&](auto place) { place.store(y.data() + begin, place.load(x.data() + begin)); });
  }
  /// Rounds weights of `target`, where that is kept.
  static void round_weights(const UpdateTarget<P>& target, std::int64_t begin, std::size_t count) {
    if (!target.rounded.empty()) round(target.weights, target.rounded, begin, count);
  }
  static auto rounding(const UpdateTarget<P>& target, const TensorPlace& info) {
    return [&](std::int64_t at, std::size_t count) { round_weights(target, info.offset + at, count); };
  }

  /// f(begin, count) updates weights of this lane's shards: pieces that are in cache yet when they are rounded.
  template <class F>
  static void update_weights(Lane& lane, const UpdateTarget<P>& target, F&& f) {
    const auto piece = std::size_t(target.rounded.empty() ? shard : 4096);
    each_shard(lane, target.weights.size(), [&](std::int64_t, std::int64_t begin, std::size_t count) {
      for (std::size_t at = 0; at < count; at += piece) {
        const std::size_t size = std::min(piece, count - at);
        f(begin + std::int64_t(at), size);
        round_weights(target, begin + std::int64_t(at), size);
      }
    });
  }

  /// f(index, begin, count) for this lane's shards; returns when all lanes have done theirs.
  template <class F>
  static void each_shard(Lane& lane, std::size_t size, F&& f) {
    const auto own = share_of(int(shards_of(size)), lane.number(), lane.parts());
    for (std::int64_t index = own.begin; index < own.end; ++index) {
      const std::int64_t begin = index * shard;
      f(index, begin, std::size_t(std::min(shard, std::int64_t(size) - begin)));
    }
    lane.barrier();
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
