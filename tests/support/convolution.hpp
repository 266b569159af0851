// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/linear.hpp>

namespace fathom_test {
using namespace fathom;

/// A layer as a user writes one whose rows see others and that has arithmetic of its own: a convolution over time,
///
///   y_t = Σ_j W_j x_{t−j} + b,  j < Taps, rows before the first are zero.
///
/// Shapes     x, y (N, Width); h (N, Taps · Width): row t holds x_t, x_{t−1}, …
/// Gradients  of the linear layer behind h;  dx_t = Σ_j dh_{t+j}[j].
/// Saves      h.   Caches x.
template <int Width, int Taps = 3>
struct Convolution {
  static constexpr const char* name = "convolution";
  static constexpr int input_width = Width, output_width = Width, wide = Taps * Width;
  static constexpr Sees sees = Sees::earlier;
  static constexpr bool caches = true;

  template <class T>
  using Params = LinearParams<T, wide, Width>;
  template <class P>
  struct Saved {
    Rows<typename P::Activation, wide> h;
    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      return {arena.rows<typename P::Activation, wide>(capacity.rows)};
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                Rows<const typename P::Stream, Width> x, Rows<typename P::Stream, Width> y,
                                Saved<P>& saved) {
    const auto h = resized(saved.h, x.count);
    auto* const cache = flow.take_cache(worker, 1, Width);
    worker.wait();  // rows of x are other lanes' work
    if (worker.first())
      each_row(worker.packing(), [&](int sequence, int place, int row) {
        const auto cached = [&](int at) { return cache + (sequence * flow.cache_length + at) * Width; };
        if (cache != nullptr) std::copy_n(x.data + row * Width, Width, cached(place));
        for (int j = 0; j < Taps; ++j) {
          auto* const to = h.data + row * wide + j * Width;
          if (j > place)
            std::fill_n(to, Width, 0);
          else
            std::copy_n(cache != nullptr ? cached(place - j) : x.data + (row - j) * Width, Width, to);
        }
      });
    worker.wait();
    worker(op::LinearForward<P>{.x = h, .weight = p.weight, .bias = p.bias, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>&,
                                 Rows<const typename P::Stream, Width> x, const Saved<P>& saved,
                                 Rows<const typename P::Stream, Width> dy, Rows<typename P::Stream, Width> dx,
                                 Skip<P> skip) {
    const auto dh = worker.template rows<typename P::Activation, wide>(x.count);
    worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.weight, .skip = {}, .dx = dh});
    worker(
        op::LinearBackwardWeight<P>{.x = resized(saved.h, x.count), .dy = dy, .dweight = dp.weight, .dbias = dp.bias});
    worker.wait();
    if (worker.first())
      each_row(worker.packing(), [&](int sequence, int place, int row) {
        const int left = worker.packing().length(sequence) - place;
        for (int c = 0; c < Width; ++c) {
          double sum = skip.value ? skip.scale * skip.value.row(row)[c] : 0;
          for (int j = 0; j < std::min(Taps, left); ++j) sum += dh.data[(row + j) * wide + j * Width + c];
          dx.data[row * Width + c] = typename P::Stream(sum);
        }
      });
    worker.wait();
  }

 private:
  /// Calls f(sequence, place in it, row) for all rows. There are none in a dry run.
  static constexpr void each_row(const Packing& packing, auto&& f) {
    for (int s = 0; s < packing.sequences(); ++s)
      for (int i = 0; i < packing.length(s); ++i) f(s, packing.past_of(s) + i, packing.offsets[s] + i);
  }
};

}  // namespace fathom_test
