// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/layer.hpp>

namespace fathom::inline FATHOM_ABI {

/// Parameters of y = x Wᵀ + b: weight (Out, In), bias (Out) unless `Biased` is false.
template <class T, int In, int Out, bool Biased = true, Role WeightRole = Role::linear>
struct LinearParams {
  WeightMatrix<T, Out, In> weight;
  OptionalVector<T, Out, Biased> bias;

  constexpr void each(auto& visitor) {
    visitor.tensor("weight", weight, WeightRole, init::xavier);
    if constexpr (Biased) visitor.tensor("bias", bias, Role::bias, init::zeros);
  }
};

/// y = x Wᵀ + b.
///
/// Shapes     x (N, In); y (N, Out).  Initialized by Xavier's normal distribution, bias zero.
/// Gradients  dx = dy W;  dW += dyᵀ x;  db += column sums of dy.
template <int In, int Out, bool Biased = true>
struct Linear {
  static_assert(In > 0 && Out > 0, "Linear: both widths must be positive");
  static constexpr const char* name = "linear";
  static constexpr int input_width = In, output_width = Out;
  static constexpr Sees sees = Sees::itself;

  template <class T>
  using Params = LinearParams<T, In, Out, Biased>;
  template <class P>
  using Saved = NothingSaved<P>;

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>&,
                                Rows<const typename P::Activation, In> x, Rows<typename P::Activation, Out> y,
                                Saved<P>&) {
    worker(op::LinearForward<P>{.x = x, .weight = p.weight, .bias = p.bias, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>&,
                                 Rows<const typename P::Activation, In> x, const Saved<P>&,
                                 Rows<const typename P::Activation, Out> dy, Rows<typename P::Stream, In> dx,
                                 Skip<P> skip) {
    worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.weight, .skip = skip, .dx = dx});
    worker(op::LinearBackwardWeight<P>{.x = x, .dy = dy, .dweight = dp.weight, .dbias = dp.bias});
  }
};

}  // namespace fathom::inline FATHOM_ABI
