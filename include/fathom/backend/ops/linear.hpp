// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops/op.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/view.hpp>

namespace fathom::inline FATHOM_ABI {

namespace op {

/// y = x Wᵀ + b.   x (N, In); weight (Out, In); bias (Out) or empty; y (N, Out) overwritten.
template <class P>
struct LinearForward {
  static constexpr const char* name = "linear";
  Matrix<const typename P::Activation> x;
  Matrix<const typename P::Weight> weight;
  Elements<const typename P::Weight> bias;
  Matrix<typename P::Activation> y;

  constexpr double flops() const { return 2.0 * x.rows * weight.rows * weight.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(weight) + bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(y); }
  friend constexpr bool operator==(const LinearForward&, const LinearForward&) = default;
};

/// dx = skip.scale · skip.value + dy W.   dy (N, Out); weight (Out, In); dx (N, In) overwritten; skip.value (N, In) may
/// be null, and may be dx itself.
template <class P>
struct LinearBackwardInput {
  static constexpr const char* name = "linear dx";
  Matrix<const typename P::Activation> dy;
  Matrix<const typename P::Weight> weight;
  Skip<P> skip;
  StreamResult<P> dx;

  constexpr double flops() const { return 2.0 * dy.rows * weight.rows * weight.columns; }
  constexpr double bytes() const { return bytes_of(dy) + bytes_of(weight) + bytes_of(skip.value) + bytes_of(dx); }
  constexpr void outputs(auto&& f) const { each_result(f, dx); }
  friend constexpr bool operator==(const LinearBackwardInput&, const LinearBackwardInput&) = default;
};

/// dweight += dyᵀ x;  dbias += column sums of dy.   x (N, In); dy (N, Out); dweight (Out, In); dbias (Out) or empty. x
/// and dy stay as they are until the caller's frame closes: a backend may do it then.
template <class P>
struct LinearBackwardWeight {
  static constexpr const char* name = "linear dw";
  Matrix<const typename P::Activation> x;
  Matrix<const typename P::Activation> dy;
  Matrix<typename P::Gradient> dweight;
  Elements<typename P::Gradient> dbias;

  constexpr double flops() const { return 2.0 * x.rows * dweight.rows * dweight.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(dy) + 2 * bytes_of(dweight); }
  constexpr void outputs(auto&& f) const {
    f(dweight);
    f(as_row(dbias));
  }
  friend constexpr bool operator==(const LinearBackwardWeight&, const LinearBackwardWeight&) = default;
};

}  // namespace op

template <class B>
concept RunsLinear = Has<B, op::LinearForward, op::LinearBackwardInput, op::LinearBackwardWeight>;

}  // namespace fathom::inline FATHOM_ABI
