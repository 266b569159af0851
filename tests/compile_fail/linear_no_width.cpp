// expect: Linear: both widths must be positive
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>

static_assert(fathom::Linear<0, 4>::output_width == 4);
