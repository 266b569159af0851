// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/layers/layer.hpp>
#include <fathom/layers/linear.hpp>

namespace my {
using namespace fathom;

/// y = (x D^T) U^T: a linear map of rank at most Rank.
///
/// Shapes     x, y (N, Width); h = x D^T (N, Rank).
/// Gradients  dh = dy U;  dx = dh D;  dU += dy^T h;  dD += dh^T x.
/// Saves      h.
template <int Width, int Rank>
struct LowRank {
  static_assert(Width > 0 && Rank > 0, "LowRank: width and rank must be positive");
  static constexpr const char* name = "low_rank";
  static constexpr int input_width = Width, output_width = Width;
  static constexpr Sees sees = Sees::itself;

  template <class T>
  struct Params {
    LinearParams<T, Width, Rank, false> down;
    LinearParams<T, Rank, Width, false, Role::feed_forward_output> up;

    constexpr void each(auto& visitor) {
      visitor.nested("down", down);
      visitor.nested("up", up);
    }
  };

  template <class P>
  struct Saved {
    Rows<typename P::Activation, Rank> h;

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      return {arena.rows<typename P::Activation, Rank>(capacity.rows)};
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>&,
                                Rows<const typename P::Activation, Width> x, Rows<typename P::Activation, Width> y,
                                Saved<P>& saved) {
    const auto h = resized(saved.h, x.count);
    worker(op::LinearForward<P>{.x = x, .weight = p.down.weight, .bias = {}, .y = h});
    worker(op::LinearForward<P>{.x = h, .weight = p.up.weight, .bias = {}, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>&,
                                 Rows<const typename P::Activation, Width> x, const Saved<P>& saved,
                                 Rows<const typename P::Activation, Width> dy, Rows<typename P::Stream, Width> dx,
                                 Skip<P> skip) {
    const auto h = resized(saved.h, x.count);
    const auto dh = worker.template rows<typename P::Activation, Rank>(x.count);
    worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.up.weight, .skip = {}, .dx = dh});
    worker(op::LinearBackwardWeight<P>{.x = h, .dy = dy, .dweight = dp.up.weight, .dbias = {}});
    worker(op::LinearBackwardInput<P>{.dy = dh, .weight = p.down.weight, .skip = skip, .dx = dx});
    worker(op::LinearBackwardWeight<P>{.x = x, .dy = dh, .dweight = dp.down.weight, .dbias = {}});
  }
};

}  // namespace my
