// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/ops/op.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/view.hpp>
#include <span>

namespace fathom::inline FATHOM_ABI {

/// What the elementwise optimizer updates share. All have n elements.
///
/// g = gradient · gradient_scale (clipping, and averaging over micro-batches). The same pass clears the gradient and
/// writes what is rounded from the weights.
template <class P>
struct UpdateTarget {
  Elements<typename P::Master> weights;
  Elements<typename P::Weight> rounded{};  ///< overwritten; empty where there are none
  Elements<typename P::Gradient> gradient;
  double gradient_scale = 1;
  double learning_rate;
  double weight_decay = 0;

  constexpr double bytes() const {
    return 2 * (op::bytes_of(weights) + op::bytes_of(gradient)) + op::bytes_of(rounded);
  }
  friend constexpr bool operator==(const UpdateTarget&, const UpdateTarget&) = default;
};

namespace op {

/// x[i] = center + deviation · n[i], in double and then rounded; n[2 k] and n[2 k + 1] are the `normals` of block k of
/// `key`'s Philox. A deviation of 0 fills, and draws nothing.   x (n) overwritten.
template <class P>
struct Initialize {
  static constexpr const char* name = "initialize";
  Elements<typename P::Master> x;
  double center = 0, deviation = 0;
  Key key;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(x); }
  constexpr void outputs(auto&& f) const { f(as_row(x)); }
  friend constexpr bool operator==(const Initialize&, const Initialize&) = default;
};

/// y = x, rounded.   x, y (n); y overwritten.
template <class P>
struct Round {
  static constexpr const char* name = "round";
  Elements<const typename P::Master> x;
  Elements<typename P::Weight> y;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(as_row(y)); }
  friend constexpr bool operator==(const Round&, const Round&) = default;
};

/// *result = the first element, row by row, that is infinite or NaN, or -1; written once for all lanes.   x (N, D).
template <class T>
struct FirstNonFinite {
  static constexpr const char* name = "first non-finite";
  Matrix<const T> x;
  std::int64_t* result;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(x); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const FirstNonFinite&, const FirstNonFinite&) = default;
};

/// results[k] = Σ x² over tensor k of `table`, in double; written once for all lanes.   x is a whole flat buffer.
template <class P>
struct TensorSquares {
  static constexpr const char* name = "squares of tensors";
  Elements<const typename P::Gradient> x;
  Indexed<std::span<const TensorPlace>> table;
  Elements<double> results;

  constexpr double flops() const { return 2.0 * double(x.size()); }
  constexpr double bytes() const { return bytes_of(x); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const TensorSquares&, const TensorSquares&) = default;
};

/// *result = Σ x², summed in shards of a fixed size in a fixed order; written once for all lanes.   x (n).
template <class P>
struct SumOfSquares {
  static constexpr const char* name = "sum of squares";
  Elements<const typename P::Gradient> x;
  double* result;

  constexpr double flops() const { return 2.0 * double(x.size()); }
  constexpr double bytes() const { return bytes_of(x); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const SumOfSquares&, const SumOfSquares&) = default;
};

/// average = decay · average + (1 − decay) · x.   Both (n).
template <class P>
struct Average {
  static constexpr const char* name = "average";
  Elements<const typename P::Master> x;
  Elements<typename P::Master> average;
  double decay;

  constexpr double flops() const { return 3.0 * double(x.size()); }
  constexpr double bytes() const { return bytes_of(x) + 2 * bytes_of(average); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const Average&, const Average&) = default;
};

/// SGD with momentum m, as PyTorch's without dampening. With d = g + weight_decay · w:
///   m = factor · m + d;   w −= learning_rate · m, with `nesterov` w −= learning_rate · (d + factor · m).
/// momentum: m (n); or empty, which takes a factor of 0: m is not kept then.
template <class P>
struct SgdUpdate {
  static constexpr const char* name = "sgd";
  UpdateTarget<P> target;
  Elements<typename P::Master> momentum;
  double momentum_factor;
  bool nesterov;

  constexpr double flops() const { return 6.0 * double(target.weights.size()); }
  constexpr double bytes() const { return target.bytes() + 2 * bytes_of(momentum); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const SgdUpdate&, const SgdUpdate&) = default;
};

/// Adam and AdamW: m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g²;
/// w −= learning_rate · (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + ε), after w *= 1 − learning_rate · weight_decay when
/// `decoupled`, else with g += weight_decay · w.   Sources: arXiv:1412.6980, algorithm 1; arXiv:1711.05101,
/// algorithm 2.
template <class P>
struct AdamUpdate {
  static constexpr const char* name = "adam";
  UpdateTarget<P> target;
  Elements<typename P::Master> first, second;
  double beta1, beta2, epsilon;
  bool decoupled;
  std::int64_t step;  ///< of this update, from 1

  constexpr double flops() const { return 14.0 * double(target.weights.size()); }
  constexpr double bytes() const { return target.bytes() + 2 * (bytes_of(first) + bytes_of(second)); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const AdamUpdate&, const AdamUpdate&) = default;
};

/// Lion: w −= learning_rate · (sign(β₁ m + (1 − β₁) g) + weight_decay · w);  m = β₂ m + (1 − β₂) g.
/// Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2.
template <class P>
struct LionUpdate {
  static constexpr const char* name = "lion";
  UpdateTarget<P> target;
  Elements<typename P::Master> momentum;
  double beta1, beta2;

  constexpr double flops() const { return 8.0 * double(target.weights.size()); }
  constexpr double bytes() const { return target.bytes() + 2 * bytes_of(momentum); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const LionUpdate&, const LionUpdate&) = default;
};

/// Adafactor without momentum, on each tensor of `table` by itself. With t = step, β = 1 − t^(−decay_exponent):
///   matrix (R, C)   r = β r + (1 − β) (row means of g² + ε₁);  c likewise of columns;  v = r cᵀ / mean(r)
///   vector (n)      v = β v + (1 − β) (g² + ε₁)
///   u = g / sqrt(v);  w −= learning_rate · weight_decay · w + max(ε₂, rms(w)) · min(learning_rate, 1 / sqrt(t)) · u /
///   max(1, rms(u) / clip_threshold), every w on the right the old one
/// The target's spans are whole flat buffers; weight decay acts on tensors that decay. moments: r then c, or v, tensor
/// after tensor in the order of the table.   Source: Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5; the
/// decoupled weight decay: torch.optim.Adafactor.
template <class P>
struct AdafactorUpdate {
  static constexpr const char* name = "adafactor";
  UpdateTarget<P> target;
  Elements<typename P::Master> moments;
  Indexed<std::span<const TensorPlace>> table;
  double decay_exponent, epsilon1, epsilon2, clip_threshold;
  std::int64_t step;  ///< of this update, from 1

  constexpr double flops() const { return 16.0 * double(target.weights.size()); }
  constexpr double bytes() const { return target.bytes() + 2 * bytes_of(moments); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const AdafactorUpdate&, const AdafactorUpdate&) = default;
};

}  // namespace op

template <class B>
concept RunsUpdate = Has<B, op::SumOfSquares, op::Round, op::Average, op::SgdUpdate, op::AdamUpdate, op::LionUpdate,
                         op::AdafactorUpdate, op::Initialize, op::TensorSquares> &&
                     HasOp<B, op::FirstNonFinite<typename B::Precision::Activation>> &&
                     HasOp<B, op::FirstNonFinite<typename B::Precision::Stream>> &&
                     HasOp<B, op::FirstNonFinite<typename B::Precision::Statistic>> &&
                     HasOp<B, op::FirstNonFinite<typename B::Precision::Gradient>>;

}  // namespace fathom::inline FATHOM_ABI
