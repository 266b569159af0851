// expect: the layer at this Place lacks backward\(worker, params, gradients, flow, x, saved, dy, dx, skip\)
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/residual.hpp>

using namespace fathom;

struct Shift {
  static constexpr const char* name = "shift";
  static constexpr int input_width = 8, output_width = 8;
  static constexpr Sees sees = Sees::itself;
  template <class T>
  using Params = NoParams<T>;
  template <class P>
  using Saved = NothingSaved<P>;

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>&, const Flow<P>&,
                                Rows<const typename P::Activation, 8> x, Rows<typename P::Activation, 8> y, Saved<P>&) {
    worker(op::Copy<P>{.x = x, .y = y});
  }
};
static_assert(Residual<PreNorm, Shift>::input_width == 8);
