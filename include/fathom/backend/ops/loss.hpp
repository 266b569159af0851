// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/ops/op.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/view.hpp>
#include <span>

namespace fathom::inline FATHOM_ABI {

/// Sums over the counted targets of one batch.
struct LossSums {
  double cross_entropy = 0;  ///< −log p(target), nats
  double smoothing = 0;      ///< mean over the vocabulary of −log p
  double z = 0;              ///< squared log of the sum of exponentials
  std::int64_t targets = 0;  ///< targets that count
  std::int64_t correct = 0;  ///< targets whose logit no other exceeds

  constexpr LossSums& operator+=(const LossSums& other) {
    cross_entropy += other.cross_entropy;
    smoothing += other.smoothing;
    z += other.z;
    targets += other.targets;
    correct += other.correct;
    return *this;
  }
  /// Mean cross-entropy of a counted target, in nats; 0 when none counts.
  constexpr double mean() const { return targets > 0 ? cross_entropy / double(targets) : 0; }
};

/// What is minimized: per counted target (1 − smoothing) · ce + smoothing · mean_v(−log p_v) + z_loss · log² Z.
/// Sources: Szegedy et al. 2016, arXiv:1512.00567, section 7; PaLM, arXiv:2204.02311, section 5.
struct LossOptions {
  double smoothing = 0, z_loss = 0;

  constexpr double total(const LossSums& sums) const {
    return (1 - smoothing) * sums.cross_entropy + smoothing * sums.smoothing + z_loss * sums.z;
  }
  friend constexpr bool operator==(const LossOptions&, const LossOptions&) = default;
};

namespace op {

/// Linear layer and cross-entropy in one, chunked over rows: all logits never live at once.
///
/// x (N, D); weight (V, D); bias (V) or empty; targets (N), negative: ignored. sums: written once for all lanes.
/// With dx (N, D), overwritten, the gradients of target_weight · loss are computed in the same pass: dweight (V, D) and
/// dbias (V) added to. Without dx only the loss.
template <class P>
struct LinearCrossEntropy {
  static constexpr const char* name = "linear + cross-entropy";
  Matrix<const typename P::Activation> x;
  Matrix<const typename P::Weight> weight;
  Elements<const typename P::Weight> bias;
  Indexed<std::span<const int>> targets;
  LossOptions options;
  double target_weight = 1;
  LossSums* sums = nullptr;
  Matrix<typename P::Stream> dx;
  Matrix<typename P::Gradient> dweight;
  Elements<typename P::Gradient> dbias;

  constexpr double flops() const { return (dx ? 6.0 : 2.0) * x.rows * weight.rows * weight.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(weight) + bytes_of(dx) + 2 * bytes_of(dweight); }
  constexpr void outputs(auto&& f) const {
    f(dx);
    f(dweight);
    f(as_row(dbias));
  }
  friend constexpr bool operator==(const LinearCrossEntropy&, const LinearCrossEntropy&) = default;
};

/// The largest logits of each row in descending order, of equal ones that with the lower index first, and the natural
/// log of the sum of all exponentials.   logits (N, V); values, indices (N, K) and log_sum (N) overwritten.
/// Behind those that are above minus infinity: minus infinity and −1. The log_sum of a row with a logit that is NaN or
/// plus infinity, or without one above minus infinity, is NaN; its values may be any.
template <class P>
struct RankLogits {
  static constexpr const char* name = "rank logits";
  Matrix<const typename P::Activation> logits;
  Matrix<typename P::Activation> values;
  Matrix<int> indices;
  Elements<typename P::Statistic> log_sum;

  constexpr double flops() const { return 3.0 * logits.rows * logits.columns; }
  constexpr double bytes() const { return bytes_of(logits) + bytes_of(values) + bytes_of(indices); }
  constexpr void outputs(auto&& f) const { f(as_row(log_sum)); }
  friend constexpr bool operator==(const RankLogits&, const RankLogits&) = default;
};

}  // namespace op

template <class B>
concept RunsLoss = Has<B, op::LinearCrossEntropy, op::RankLogits>;

}  // namespace fathom::inline FATHOM_ABI
