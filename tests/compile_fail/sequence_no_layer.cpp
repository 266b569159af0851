// expect: the layer at this Place lacks
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/sequence.hpp>

using namespace fathom;
struct Doubling {
  static constexpr int input_width = 5, output_width = 5;
};
static_assert(Sequence<Linear<4, 5>, Doubling>::input_width == 4);
