// expect: FeedForward: it has no heads to scale; leave HeadScales to Attention
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/feed_forward.hpp>

using namespace fathom;
static_assert(FeedForward<4, 8, Relu, HeadScales>::output_width == 4);
