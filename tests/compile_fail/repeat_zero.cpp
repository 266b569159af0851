// expect: the number of blocks must be positive
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/repeat.hpp>

static_assert(fathom::Repeat<0, fathom::Linear<4, 4>>::input_width == 4);
