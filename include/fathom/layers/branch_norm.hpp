// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/norm.hpp>

namespace fathom::inline FATHOM_ABI {

/// Rows of a branch in the type of the stream: themselves, or a copy.
template <class P, int Width>
constexpr Rows<const typename P::Stream, Width> in_type_of_stream(auto& worker,
                                                                  Rows<const typename P::Activation, Width> x) {
  if constexpr (branches_read_stream<P>) {
    return x;
  } else {
    const auto rows = worker.template rows<typename P::Stream, Width>(x.count);
    worker(op::ResidualAdd<P>{.x = {}, .f = x, .a = {}, .b = {}, .dropout = {}, .y = rows});
    return rows;
  }
}

/// A norm inside a branch: its rows are of P::Activation, where those of `NormLayer` come from the stream.
///
/// Shapes     x, y, dy, dx (N, width of the norm). Parameters, saved values and gradients are the norm's.
template <class NormLayer>
struct BranchNorm {
  static constexpr int width = NormLayer::input_width;

  /// y = norm(x).
  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const typename NormLayer::template Params<const typename P::Weight>& p,
                                const Flow<P>& flow, Rows<const typename P::Activation, width> x,
                                Rows<typename P::Activation, width> y, typename NormLayer::template Saved<P>& saved) {
    NormLayer::forward(worker, p, flow, in_type_of_stream<P>(worker, x), only_branch<P>(y), saved);
  }

  /// dx = Jᵀ dy, overwritten; gradients ADDED TO dp.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const typename NormLayer::template Params<const typename P::Weight>& p,
                                 const typename NormLayer::template Params<typename P::Gradient>& dp,
                                 const Flow<P>& flow, Rows<const typename P::Activation, width> x,
                                 const typename NormLayer::template Saved<P>& saved,
                                 Rows<const typename P::Activation, width> dy, Rows<typename P::Activation, width> dx) {
    if constexpr (branches_read_stream<P>) {
      NormLayer::backward(worker, p, dp, flow, x, saved, dy, dx, {});
    } else {
      const auto d = worker.template rows<typename P::Stream, width>(x.count);
      NormLayer::backward(worker, p, dp, flow, in_type_of_stream<P>(worker, x), saved, in_type_of_stream<P>(worker, dy),
                          d, {});
      worker(op::ResidualAdd<P>{.x = {}, .f = d, .a = {}, .b = {}, .dropout = {}, .y = dx});
    }
  }
};

}  // namespace fathom::inline FATHOM_ABI
