// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops/op.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/view.hpp>

namespace fathom::inline FATHOM_ABI {

enum class NormKind { layer, rms };

namespace op {

/// y = (x − mean) · rstd · gain + bias over each row, or for `rms` y = x · rstd · gain.
///
/// x (N, D); gain (D); bias (D) or empty; y (N, D) overwritten. mean (empty for rms), rstd (N): overwritten.
/// Source: Ba et al. 2016, arXiv:1607.06450; Zhang and Sennrich 2019, arXiv:1910.07467.
template <class P>
struct Norm {
  static constexpr const char* name = "norm";
  NormKind kind;
  double epsilon;
  Matrix<const typename P::Stream> x;
  Elements<const typename P::Weight> gain, bias;
  StreamResult<P> y;
  Elements<typename P::Statistic> mean, rstd;

  constexpr double flops() const { return 8.0 * x.rows * x.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(y); }
  constexpr void outputs(auto&& f) const { each_result(f, y); }
  friend constexpr bool operator==(const Norm&, const Norm&) = default;
};

/// Backward of `Norm`.   dx = skip.scale · skip.value + Jᵀ dy, overwritten; skip may be null, and may be dx. dgain (D),
/// and dbias (D) or empty, added to. dx may be dy.
template <class P>
struct NormBackward {
  static constexpr const char* name = "norm backward";
  NormKind kind;
  Matrix<const typename P::Stream> x;
  Elements<const typename P::Statistic> mean, rstd;
  Elements<const typename P::Weight> gain;
  Matrix<const typename P::Stream> dy;
  Skip<P> skip;
  Matrix<typename P::Stream> dx;
  Elements<typename P::Gradient> dgain, dbias;

  constexpr double flops() const { return 13.0 * x.rows * x.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(dy) + bytes_of(skip.value) + bytes_of(dx); }
  constexpr void outputs(auto&& f) const {
    f(dx);
    f(as_row(dgain));
    f(as_row(dbias));
  }
  friend constexpr bool operator==(const NormBackward&, const NormBackward&) = default;
};

}  // namespace op

template <class B>
concept RunsNorm = Has<B, op::Norm, op::NormBackward>;

}  // namespace fathom::inline FATHOM_ABI
