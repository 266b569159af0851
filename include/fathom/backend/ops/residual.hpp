// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/ops/norm.hpp>
#include <fathom/backend/ops/op.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/view.hpp>

namespace fathom::inline FATHOM_ABI {

/// Scale of one addend of a residual add: a constant times an optional learned factor, one for all channels or one each.
template <class P>
struct ResidualScale {
  double constant = 1;
  Elements<const typename P::Weight> learned;  ///< empty, or one element, or D
  friend constexpr bool operator==(const ResidualScale&, const ResidualScale&) = default;
};

namespace op {

/// y = a ⊙ x + b ⊙ dropout(f).   x, f, y (N, D); y overwritten, may be x or f. Without x, y = b ⊙ dropout(f).
template <class P>
struct ResidualAdd {
  static constexpr const char* name = "residual add";
  Matrix<const typename P::Stream> x;
  StreamOperand<P> f;
  ResidualScale<P> a, b;
  Dropout dropout;
  StreamResult<P> y;

  constexpr double flops() const { return 3.0 * y.rows * y.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(f) + bytes_of(y); }
  constexpr void outputs(auto&& g) const { each_result(g, y); }
  friend constexpr bool operator==(const ResidualAdd&, const ResidualAdd&) = default;
};

/// Backward of `ResidualAdd`.   dx = a ⊙ dy, df = b ⊙ dropout'(dy), each overwritten, each null when not wanted. da, db are
/// the gradients of the learned factors, as many, added to, or empty when not wanted (x is read for da, f for db; null
/// otherwise; db takes df, which must then be wanted).
template <class P>
struct ResidualAddBackward {
  static constexpr const char* name = "residual add backward";
  Matrix<const typename P::Stream> x;
  Matrix<const typename P::Activation> f;
  ResidualScale<P> a, b;
  Dropout dropout;
  Matrix<const typename P::Stream> dy;
  Matrix<typename P::Stream> dx;
  StreamResult<P> df;
  Elements<typename P::Gradient> da, db;

  constexpr double flops() const { return 3.0 * dy.rows * dy.columns; }
  constexpr double bytes() const { return bytes_of(dy) + bytes_of(dx) + bytes_of(df) + bytes_of(x) + bytes_of(f); }
  constexpr void outputs(auto&& g) const {
    g(dx);
    each_result(g, df);
    g(as_row(da));
    g(as_row(db));
  }
  friend constexpr bool operator==(const ResidualAddBackward&, const ResidualAddBackward&) = default;
};

/// The DeepNorm op, one pass over a row: z = a ⊙ x + b ⊙ dropout(f);  y = norm(z).
///
/// As `ResidualAdd` then `Norm`, of z as it is stored. z (N, D) overwritten, may be f; y (N, D) overwritten, overlaps nothing.
/// Source: Wang et al. 2022, arXiv:2203.00555, section 4.
template <class P>
struct ResidualAddNorm {
  static constexpr const char* name = "residual add + norm";
  Matrix<const typename P::Stream> x;
  Matrix<const typename P::Activation> f;
  ResidualScale<P> a, b;
  Dropout dropout;
  NormKind kind;
  double epsilon;
  Elements<const typename P::Weight> gain, bias;
  Matrix<typename P::Stream> z;
  Elements<typename P::Statistic> mean, rstd;
  StreamResult<P> y;

  constexpr double flops() const { return 11.0 * x.rows * x.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(f) + bytes_of(z) + bytes_of(y); }
  constexpr void outputs(auto&& g) const {
    g(z);
    each_result(g, y);
  }
  friend constexpr bool operator==(const ResidualAddNorm&, const ResidualAddNorm&) = default;
};

/// Backward of `ResidualAddNorm` where no factor is learned, one pass over a row: dz = Jᵀ dy, J the norm's Jacobian at
/// z; df = b · dropout'(dz), of dz as it is stored. The gradient of x, a · dz, is left to whoever adds the skip.
///
/// dz (N, D) overwritten, may be dy; df (N, D) overwritten, null when not wanted. dgain (D), and dbias (D) or empty,
/// added to.
template <class P>
struct ResidualAddNormBackward {
  static constexpr const char* name = "residual add + norm backward";
  double b;
  Dropout dropout;
  NormKind kind;
  Matrix<const typename P::Stream> z;
  Elements<const typename P::Statistic> mean, rstd;
  Elements<const typename P::Weight> gain;
  Matrix<const typename P::Stream> dy;
  Matrix<typename P::Stream> dz;
  Matrix<typename P::Activation> df;
  Elements<typename P::Gradient> dgain, dbias;

  constexpr double flops() const { return (df ? 14.0 : 13.0) * z.rows * z.columns; }
  constexpr double bytes() const { return bytes_of(z) + bytes_of(dy) + bytes_of(dz) + bytes_of(df); }
  constexpr void outputs(auto&& g) const {
    g(dz);
    g(df);
    g(as_row(dgain));
    g(as_row(dbias));
  }
  friend constexpr bool operator==(const ResidualAddNormBackward&, const ResidualAddNormBackward&) = default;
};

/// y = x + shift, one learned number for all elements.   x, y (N, D) of one type; shift (1); y overwritten, may be x.
/// Source: Zhang, Dauphin and Ma 2019, arXiv:1901.09321, section 3 (Fixup).
template <class P>
struct Shift {
  static constexpr const char* name = "shift";
  Matrix<const typename P::Activation> x;
  Elements<const typename P::Weight> shift;
  Matrix<typename P::Activation> y;

  constexpr double flops() const { return double(y.rows) * y.columns; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(y); }
  constexpr void outputs(auto&& g) const { g(y); }
  friend constexpr bool operator==(const Shift&, const Shift&) = default;
};

/// Backward of `Shift` beside dx = dy: dshift += Σ dy.   dy (N, D); dshift (1).
template <class P>
struct ShiftBackward {
  static constexpr const char* name = "shift backward";
  StreamOperand<P> dy;
  Elements<typename P::Gradient> dshift;

  constexpr double flops() const { return double(dy.rows) * dy.columns; }
  constexpr double bytes() const { return bytes_of(dy); }
  constexpr void outputs(auto&& g) const { g(as_row(dshift)); }
  friend constexpr bool operator==(const ShiftBackward&, const ShiftBackward&) = default;
};

/// y = Σ_k w[k] · x_k over `count` streams that lie `pitch` elements apart, all with the stride of the first.   x_k, y
/// (N, D); w (>= count); y overwritten, 0 for a count of 0. Source: Wang et al. 2019, arXiv:1906.01787, eq. 6.
template <class P>
struct WeightedSum {
  static constexpr const char* name = "weighted sum";
  Matrix<const typename P::Stream> first;
  std::int64_t pitch;
  int count;
  Elements<const typename P::Weight> weights;
  StreamResult<P> y;

  constexpr double flops() const { return 2.0 * count * y.rows * y.columns; }
  constexpr double bytes() const { return bytes_of(y) * (count + 1); }
  constexpr void outputs(auto&& f) const { each_result(f, y); }
  friend constexpr bool operator==(const WeightedSum&, const WeightedSum&) = default;
};

/// Backward of `WeightedSum`.   dx_k += w[k] · dy, streams `pitch` apart from `dfirst`; dweights[k] += <dy, x_k>.
template <class P>
struct WeightedSumBackward {
  static constexpr const char* name = "weighted sum backward";
  Matrix<const typename P::Stream> first;
  std::int64_t pitch;
  int count;
  Elements<const typename P::Weight> weights;
  Matrix<const typename P::Stream> dy;
  Matrix<typename P::Stream> dfirst;
  Elements<typename P::Gradient> dweights;

  constexpr double flops() const { return 4.0 * count * dy.rows * dy.columns; }
  constexpr double bytes() const { return bytes_of(dy) * (3.0 * count + 1); }
  constexpr void outputs(auto&& f) const {
    f(dfirst);
    f(as_row(dweights));
  }
  friend constexpr bool operator==(const WeightedSumBackward&, const WeightedSumBackward&) = default;
};

/// *result = population variance of all elements of x (N, D), which has rows; written once for all lanes. For Admin's
/// profiling pass.
template <class P>
struct Variance {
  static constexpr const char* name = "variance";
  Matrix<const typename P::Activation> x;
  double* result;

  constexpr double flops() const { return 3.0 * x.rows * x.columns; }
  constexpr double bytes() const { return bytes_of(x); }
  constexpr void outputs(auto&&) const {}
  friend constexpr bool operator==(const Variance&, const Variance&) = default;
};

/// y = x, or y += x when `add`.   x, y (N, D).
template <class P>
struct Copy {
  static constexpr const char* name = "copy";
  Matrix<const typename P::Stream> x;
  Matrix<typename P::Stream> y;
  bool add = false;

  constexpr double flops() const { return add ? double(x.rows) * x.columns : 0; }
  constexpr double bytes() const { return bytes_of(x) + bytes_of(y) * (add ? 2 : 1); }
  constexpr void outputs(auto&& f) const { f(y); }
  friend constexpr bool operator==(const Copy&, const Copy&) = default;
};

/// y = 0.   y (N, D).
template <class P>
struct Zero {
  static constexpr const char* name = "zero";
  Matrix<typename P::Stream> y;

  constexpr double flops() const { return 0; }
  constexpr double bytes() const { return bytes_of(y); }
  constexpr void outputs(auto&& f) const { f(y); }
  friend constexpr bool operator==(const Zero&, const Zero&) = default;
};

}  // namespace op

template <class B>
concept RunsResidual =
    Has<B, op::ResidualAdd, op::ResidualAddBackward, op::ResidualAddNorm, op::ResidualAddNormBackward, op::Shift,
        op::ShiftBackward, op::WeightedSum, op::WeightedSumBackward, op::Variance, op::Copy, op::Zero>;

}  // namespace fathom::inline FATHOM_ABI
