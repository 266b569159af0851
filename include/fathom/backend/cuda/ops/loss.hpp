// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/passes.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/loss.hpp>
#include <fathom/core/config.hpp>
#include <limits>
#include <type_traits>

namespace fathom::inline FATHOM_ABI::cuda {

/// The largest of some logits, and Σ exp(logit − largest). Of two such pairs one, whichever comes first.
struct LogSum {
  float largest = -std::numeric_limits<float>::infinity(), sum = 0;

  constexpr void add(float logit) { add(LogSum{logit, 1}); }
  constexpr void add(const LogSum& other) {
    if (other.largest == -std::numeric_limits<float>::infinity()) return;
    const float top = other.largest > largest || other.largest != other.largest ? other.largest : largest;
    sum = sum * std::exp(largest - top) + other.sum * std::exp(other.largest - top);
    largest = top;
  }
};

/// The losses of a row and the gradient of its logits: a block for each row.
template <class P>
struct LossRows {
  static constexpr const char* name = "cross-entropy";
  static constexpr int threads = 256, warps = threads / warp_size;
  struct Shared {
    LogSum part[warps];
    float logits[warps];
  };
  using T = typename P::Activation;
  Matrix<float> logits;  ///< without the bias
  const typename P::Weight* bias;
  const int* targets;
  float smoothing, z_loss;
  const double* target_weight;
  LossSums* sums;       ///< of each row
  Matrix<T> gradients;  ///< may be the logits themselves; without rows: not wanted

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int row = thread.block(), vocabulary = logits.columns, target = thread.load(targets + row);
    float* const x = logits.row(row);
    T* const dx = gradients ? gradients.row(row) : nullptr;
    if (target < 0) {
      if (dx != nullptr)
        for (int v = thread.index(); v < vocabulary; v += threads) thread.store(dx + v, T(0.f));
      if (thread.index() == 0) thread.store(sums + row, LossSums{});
      return;
    }
    const auto logit = [&](int v) {
      return thread.load(x + v) + (bias == nullptr ? 0.f : float(thread.load(bias + v)));
    };
    LogSum log_sum;
    float all = 0;
    for (int v = thread.index(); v < vocabulary; v += threads) {
      const float l = logit(v);
      log_sum.add(l);
      all += l / float(vocabulary);
    }
    for (int mask = warp_size / 2; mask > 0; mask /= 2) {
      // Both lanes of a pair add in the same order, so they have the same bits.
      const LogSum other{thread.shuffle_xor(log_sum.largest, mask), thread.shuffle_xor(log_sum.sum, mask)};
      LogSum first = thread.lane() & mask ? other : log_sum;
      first.add(thread.lane() & mask ? log_sum : other);
      log_sum = first;
    }
    all = warp_sum(thread, all);
    if (thread.lane() == 0) thread.shared().part[thread.warp()] = log_sum, thread.shared().logits[thread.warp()] = all;
    thread.barrier();
    log_sum = {};
    float mean = 0;
    for (int w = 0; w < warps; ++w) log_sum.add(thread.shared().part[w]), mean += thread.shared().logits[w];
    const float log_z = log_sum.largest + std::log(log_sum.sum);
    const float at_target = logit(target);
    thread.barrier();  // all have read the target's logit
    if (thread.index() == 0)
      thread.store(sums + row, LossSums{double(log_z - at_target), double(log_z - mean), double(log_z) * double(log_z),
                                        1, at_target >= log_sum.largest});
    if (dx == nullptr) return;
    const float weight = float(thread.load(target_weight));
    for (int v = thread.index(); v < vocabulary; v += threads) {
      const float p = std::exp(logit(v) - log_z);
      const float d = weight * ((1 - smoothing) * (p - (v == target ? 1.f : 0.f)) +
                                smoothing * (p - 1 / float(vocabulary)) + 2 * z_loss * log_z * p);
      thread.store(dx + v, T(d));
    }
  }
};

/// The sum over all rows: one warp, each lane every 32nd row.
struct SumLosses {
  static constexpr const char* name = "sum losses";
  static constexpr int threads = warp_size;
  struct Shared {};
  const LossSums* rows;
  int count;
  LossSums* result;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    LossSums sum;
    for (int row = thread.lane(); row < count; row += warp_size) sum += thread.load(rows + row);
    sum.cross_entropy = warp_sum(thread, sum.cross_entropy);
    sum.smoothing = warp_sum(thread, sum.smoothing);
    sum.z = warp_sum(thread, sum.z);
    sum.targets = warp_sum(thread, sum.targets);
    sum.correct = warp_sum(thread, sum.correct);
    if (thread.lane() == 0) thread.store(result, sum);
  }
};

template <class P>
void run_op(Session& session, const op::LinearCrossEntropy<P>& op, Numbers numbers) {
  using T = typename P::Activation;
  const int rows = op.x.rows, vocabulary = op.weight.rows, most = rows_of_logits(rows, vocabulary);
  const double* const target_weight = numbers.next<double>();
  Arena scratch = session.scratch();
  LossSums* const sums = scratch.take<LossSums>(rows);
  const Matrix<float> all(scratch.take<float>(std::int64_t(most) * vocabulary), most, vocabulary);
  Matrix<T> all_gradients;
  if (op.dx) {
    if constexpr (std::is_same_v<T, float>)
      all_gradients = all;
    else
      all_gradients = {scratch.take<T>(std::int64_t(most) * vocabulary), most, vocabulary};
  }
  for (int first = 0; first < rows; first += most) {
    const int count = std::min(most, rows - first);
    const Matrix<float> logits = all.block(0, count);
    const Matrix<T> gradients = op.dx ? all_gradients.block(0, count) : Matrix<T>{};
    const Matrix<const T> x = op.x.block(first, count);
    session.products()(session.stream(), x, false, Matrix<const T>(op.weight), true, 0, Matrix<const float>{}, logits);
    session.launch(count, LossRows<P>{logits, op.bias.empty() ? nullptr : op.bias.data(), op.targets.data() + first,
                                      float(op.options.smoothing), float(op.options.z_loss), target_weight,
                                      sums + first, gradients});
    if (!op.dx) continue;
    const Matrix<const T> d(gradients);
    session.products()(session.stream(), d, false, Matrix<const T>(op.weight), false, 0,
                       Matrix<const typename P::Stream>{}, op.dx.block(first, count));
    if (op.dweight)
      session.products()(session.stream(), d, true, x, false, 1, Matrix<const typename P::Gradient>(op.dweight),
                         op.dweight);
    if (op.dbias.empty()) continue;
    session.sums().add(session.stream(), d, op.dbias.data());
    session.sums().run(session.stream());  // the next rows come to the same place
  }
  session.launch(1, SumLosses{sums, rows, op.sums});
}

/// The K largest logits of a row, one after the other: a block for each row.
template <class P, int Warps>
struct RankRows {
  static constexpr const char* name = "rank logits";
  static constexpr int warps = Warps, threads = warps * warp_size;
  struct Best {
    float value;
    int index;
  };
  struct Shared {
    Best best[warps];
    LogSum part[warps];
  };
  using T = typename P::Activation;
  RowsOf<const T> logits;
  RowsOf<T> values;
  RowsOf<int> indices;
  typename P::Statistic* log_sum;

  /// Whether a comes before b: -1 is no index and comes last.
  static constexpr bool before(const Best& a, const Best& b) {
    if (a.index < 0 || b.index < 0) return a.index >= 0;
    return a.value > b.value || (a.value == b.value && a.index < b.index);
  }

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const int row = thread.block();
    const T* const x = logits.row(row);
    LogSum sum;
    bool finite = true;
    for (int v = thread.index(); v < logits.columns; v += threads) {
      const float logit = float(thread.load(x + v));
      finite = finite && logit < infinity;
      sum.add(logit);
    }
    if (!finite) sum = {std::numeric_limits<float>::quiet_NaN(), 1};
    for (int mask = warp_size / 2; mask > 0; mask /= 2) {
      const LogSum other{thread.shuffle_xor(sum.largest, mask), thread.shuffle_xor(sum.sum, mask)};
      LogSum first = thread.lane() & mask ? other : sum;
      first.add(thread.lane() & mask ? sum : other);
      sum = first;
    }
    if (thread.lane() == 0) thread.shared().part[thread.warp()] = sum;
    thread.barrier();
    sum = {};
    for (const LogSum& part : thread.shared().part) sum.add(part);
    if (thread.index() == 0) {
      const bool none = !(sum.largest > -infinity);
      const float log_z = sum.largest + std::log(sum.sum);
      thread.store(log_sum + row, typename P::Statistic(none ? std::numeric_limits<float>::quiet_NaN() : log_z));
    }

    Best last{infinity, -1};
    for (int k = 0; k < values.columns; ++k) {
      Best best{-infinity, -1};
      for (int v = thread.index(); v < logits.columns; v += threads) {
        const Best here{float(thread.load(x + v)), v};
        const bool is_next = here.value > -infinity && (last.index < 0 || before(last, here));
        if (is_next && before(here, best)) best = here;
      }
      for (int mask = warp_size / 2; mask > 0; mask /= 2) {
        const Best other{thread.shuffle_xor(best.value, mask), thread.shuffle_xor(best.index, mask)};
        if (before(other, best)) best = other;
      }
      thread.barrier();  // all have read the last winner
      if (thread.lane() == 0) thread.shared().best[thread.warp()] = best;
      thread.barrier();
      for (const Best& of_warp : thread.shared().best)
        if (before(of_warp, best)) best = of_warp;
      if (k > 0 && last.index < 0) best = {-infinity, -1};  // there was none before
      last = best;
      if (thread.index() == 0) {
        thread.store(values.row(row) + k, T(best.value));
        thread.store(indices.row(row) + k, best.index);
      }
    }
  }
};

template <class P>
void run_op(Session& session, const op::RankLogits<P>& op, Numbers) {
  if (op.logits.rows == 0) return;
  const auto launch = [&]<int Warps>() {
    session.launch(op.logits.rows, RankRows<P, Warps>{op.logits, op.values, op.indices, op.log_sum.data()});
  };
  if (op.logits.columns <= 256)
    launch.template operator()<1>();
  else
    launch.template operator()<8>();
}

}  // namespace fathom::inline FATHOM_ABI::cuda
