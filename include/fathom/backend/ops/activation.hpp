// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <fathom/backend/ops/op.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/view.hpp>

namespace fathom::inline FATHOM_ABI {

enum class ActivationKind { relu, gelu, gelu_tanh, silu };
constexpr const char* name_of(ActivationKind kind) {
  return std::array{"relu", "gelu", "gelu_tanh", "silu"}[static_cast<std::size_t>(kind)];
}

namespace op {

/// y = dropout(act(x)), or with a gate y = dropout(act(x[:, :F]) ⊙ x[:, F:]).   x (N, F) or gated (N, 2F); y (N, F)
/// overwritten, without a gate it may be x.
template <class P>
struct Activation {
  static constexpr const char* name = "activation";
  ActivationKind kind;
  bool gated = false;
  Dropout dropout;
  Matrix<const typename P::Activation> x;
  Matrix<typename P::Activation> y;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(y); }
  friend constexpr bool operator==(const Activation&, const Activation&) = default;
};

/// Backward of `Activation`.   dy (N, F); dx as x, overwritten, without a gate it may be dy; y (N, F), or absent: the
/// output of the forward op once more, overwritten. Of relu without a gate x may be that output, which has the slopes
/// of x wherever dropout keeps it, if y is absent.
template <class P>
struct ActivationBackward {
  static constexpr const char* name = "activation dx";
  ActivationKind kind;
  bool gated = false;
  Dropout dropout;
  Matrix<const typename P::Activation> x;
  Matrix<const typename P::Activation> dy;
  Matrix<typename P::Activation> dx, y;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(dy) + bytes_of(dx) + bytes_of(y); }
  constexpr void outputs(auto&& f) const {
    f(dx);
    f(y);
  }
  friend constexpr bool operator==(const ActivationBackward&, const ActivationBackward&) = default;
};

}  // namespace op

template <class B>
concept RunsActivation = Has<B, op::Activation, op::ActivationBackward>;

}  // namespace fathom::inline FATHOM_ABI
