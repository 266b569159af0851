// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/layer.hpp>

namespace fathom::inline FATHOM_ABI {

/// Normalization over the last axis, the common part of `LayerNorm` and `RmsNorm`.
///
/// Shapes     x, y (N, Width); gain, bias (Width); saved mean, rstd (N).
/// Gradients  u = dy ⊙ gain;  x̂ = (x − mean) · rstd;  dx = rstd · (u − mean(u) − x̂ · mean(u ⊙ x̂)), for RMS without
///            mean(u);  dgain += Σ dy ⊙ x̂;  dbias += Σ dy.
template <NormKind Kind, int Width, double Epsilon>
struct Normalization {
  static_assert(Width > 0, "LayerNorm, RmsNorm: the width must be positive");
  static_assert(Epsilon > 0, "LayerNorm, RmsNorm: epsilon must be positive");
  static constexpr const char* name = "norm";
  static constexpr int input_width = Width, output_width = Width;
  static constexpr Sees sees = Sees::itself;
  static constexpr NormKind kind = Kind;
  static constexpr double epsilon = Epsilon;

  static constexpr void describe(auto&& fact) {
    fact("kind", Kind == NormKind::layer ? "LayerNorm" : "RmsNorm");
    fact("epsilon", Epsilon);
  }

  template <class T>
  struct Params {
    Vector<T, Width> gain;
    OptionalVector<T, Width, Kind == NormKind::layer> bias;

    constexpr void each(auto& visitor) {
      visitor.tensor("gain", gain, Role::norm_gain, init::ones);
      if constexpr (Kind == NormKind::layer) visitor.tensor("bias", bias, Role::bias, init::zeros);
    }
  };

  template <class P>
  struct Saved {
    Elements<typename P::Statistic> mean, rstd;  // (N), mean empty for RMS

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      const auto rows = std::size_t(capacity.rows);
      Saved saved{};
      if constexpr (Kind == NormKind::layer) saved.mean = {arena.take<typename P::Statistic>(capacity.rows), rows};
      saved.rstd = {arena.take<typename P::Statistic>(capacity.rows), rows};
      return saved;
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>&,
                                Rows<const typename P::Stream, Width> x, StreamOut<P, Width> y, Saved<P>& saved) {
    worker(op::Norm<P>{.kind = Kind,
                       .epsilon = Epsilon,
                       .x = x,
                       .gain = p.gain,
                       .bias = p.bias,
                       .y = y,
                       .mean = saved.mean,
                       .rstd = saved.rstd});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>&,
                                 Rows<const typename P::Stream, Width> x, const Saved<P>& saved,
                                 Rows<const typename P::Stream, Width> dy, Rows<typename P::Stream, Width> dx,
                                 Skip<P> skip) {
    worker(op::NormBackward<P>{.kind = Kind,
                               .x = x,
                               .mean = saved.mean,
                               .rstd = saved.rstd,
                               .gain = p.gain,
                               .dy = dy,
                               .skip = skip,
                               .dx = dx,
                               .dgain = dp.gain,
                               .dbias = dp.bias});
  }
};

/// y = (x − mean) / sqrt(variance + epsilon) ⊙ gain + bias.   Source: Ba et al. 2016, arXiv:1607.06450, eqs. 3-4.
template <int Width, double Epsilon = 1e-5>
struct LayerNorm : Normalization<NormKind::layer, Width, Epsilon> {};

/// y = x / sqrt(mean square + epsilon) ⊙ gain.   Source: Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4.
template <int Width, double Epsilon = 1e-5>
struct RmsNorm : Normalization<NormKind::rms, Width, Epsilon> {};

}  // namespace fathom::inline FATHOM_ABI
