// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/layer.hpp>

namespace fathom::inline FATHOM_ABI {

/// What stands behind a stack without norms: y = x + s, or y = m · (x + s), with learned numbers s, which starts at 0,
/// and m, which starts at 1.
///
/// Shapes     x, y (N, Width).
/// Gradients  dx = m · dy;  ds += Σ dx;  dm += Σ dy ⊙ (x + s), which is computed again.
/// Source     Zhang, Dauphin and Ma 2019, arXiv:1901.09321; github.com/hongyi-zhang/Fixup, transformer_zero.py.
template <int Width, bool Scaled>
struct ShiftedOutput {
  static_assert(Width > 0, "ShiftedOutput: the width must be positive");
  static constexpr const char* name = "shifted_output";
  static constexpr int input_width = Width, output_width = Width;
  static constexpr Sees sees = Sees::itself;

  static constexpr void describe(auto&& fact) { fact("scaled", Scaled); }

  template <class T>
  struct Params {
    Vector<T, 1> shift, scale;

    constexpr void each(auto& visitor) {
      visitor.tensor("shift", shift, Role::shift, init::zeros);
      if constexpr (Scaled) visitor.tensor("scale", scale, Role::branch_scale, init::ones);
    }
  };
  template <class P>
  using Saved = NothingSaved<P>;

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>&,
                                Rows<const typename P::Stream, Width> x, StreamOut<P, Width> y, Saved<P>&) {
    const auto shifted = shift<P>(worker, p, x);
    worker(op::ResidualAdd<P>{.x = {}, .f = shifted, .a = {}, .b = scale<P>(p), .dropout = {}, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>&,
                                 Rows<const typename P::Stream, Width> x, const Saved<P>&,
                                 Rows<const typename P::Stream, Width> dy, Rows<typename P::Stream, Width> dx,
                                 Skip<P> skip) {
    const auto d = worker.template rows<typename P::Stream, Width>(x.count);
    op::ResidualAddBackward<P> scaled{
        .x = {}, .f = {}, .a = {}, .b = scale<P>(p), .dropout = {}, .dy = dy, .dx = {}, .df = d, .da = {}, .db = {}};
    if constexpr (Scaled) scaled.f = shift<P>(worker, p, x), scaled.db = dp.scale;
    worker(scaled);
    worker(op::ShiftBackward<P>{.dy = d, .dshift = dp.shift});
    worker(op::ResidualAdd<P>{.x = skip.value, .f = d, .a = {skip.scale, {}}, .b = {}, .dropout = {}, .y = dx});
  }

 private:
  /// x + s, as branches have it.
  template <class P>
  static constexpr Rows<const typename P::Activation, Width> shift(auto& worker,
                                                                   const Params<const typename P::Weight>& p,
                                                                   Rows<const typename P::Stream, Width> x) {
    const auto shifted = worker.template rows<typename P::Activation, Width>(x.count);
    Rows<const typename P::Activation, Width> rows;
    if constexpr (branches_read_stream<P>) {
      rows = x;
    } else {
      rows = shifted;
      worker(op::ResidualAdd<P>{.x = {}, .f = x, .a = {}, .b = {}, .dropout = {}, .y = shifted});
    }
    worker(op::Shift<P>{.x = rows, .shift = p.shift, .y = shifted});
    return shifted;
  }
  template <class P>
  static constexpr ResidualScale<P> scale(const Params<const typename P::Weight>& p) {
    if constexpr (Scaled)
      return {1, p.scale};
    else
      return {};
  }
};

}  // namespace fathom::inline FATHOM_ABI
