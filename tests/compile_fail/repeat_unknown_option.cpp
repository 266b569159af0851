// expect: Repeat: an option that it does not know
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/repeat.hpp>

static_assert(fathom::Repeat<2, fathom::Linear<4, 4>, fathom::NoBias>::input_width == 4);
