// expect: the layer at this Place lacks
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/residual.hpp>

struct Doubling {
  static constexpr int input_width = 8, output_width = 8;
};
static_assert(fathom::Residual<fathom::PreNorm, Doubling>::input_width == 8);
