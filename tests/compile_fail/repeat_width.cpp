// expect: CheckChain<0, 5, 4>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/repeat.hpp>

static_assert(fathom::Repeat<2, fathom::Linear<4, 5>>::input_width == 4);
