// expect: LayerNorm, RmsNorm: the width must be positive
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/norm.hpp>

static_assert(fathom::RmsNorm<0>::input_width == 0);
