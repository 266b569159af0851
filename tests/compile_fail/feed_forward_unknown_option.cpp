// expect: FeedForward: an option that it does not know
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/feed_forward.hpp>

struct Sliding {
  using tag = Sliding;
};
static_assert(fathom::FeedForward<8, 16, fathom::Gelu, Sliding>::input_width == 8);
