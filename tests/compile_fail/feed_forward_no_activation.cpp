// expect: FeedForward: its third argument is the activation: say Gelu, Relu, SwiGlu .*there, NoBias behind it
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/feed_forward.hpp>

static_assert(fathom::FeedForward<64, 256, fathom::NoBias>::input_width == 64);
