// expect: the width is not divisible by the number of heads
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

static_assert(fathom::Attention<10, 3>::input_width == 10 && fathom::Attention<10, 3>::Shape::biased);
