// expect: the layer at this Place lacks forward\(worker, params, flow, x, y, saved\)
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/sequence.hpp>

using namespace fathom;

struct Shift {
  static constexpr const char* name = "shift";
  static constexpr int input_width = 8, output_width = 8;
  static constexpr Sees sees = Sees::itself;
  template <class T>
  using Params = NoParams<T>;
  template <class P>
  using Saved = NothingSaved<P>;

  // Without the flow, which every layer is handed.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W&, const Params<const typename P::Weight>&, Rows<const typename P::Activation, 8>,
                                Rows<typename P::Activation, 8>, Saved<P>&) {}
};
static_assert(Sequence<Linear<8, 8>, Shift>::input_width == 8);
