// expect: Recompute: name the number of blocks of a segment
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/repeat.hpp>

static_assert(fathom::Repeat<2, fathom::Linear<4, 4>, fathom::Recompute<0>>::depth == 2);
