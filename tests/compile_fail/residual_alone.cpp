// expect: Residual: this policy joins the sublayers of a layer: say ResidualBlock
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/residual.hpp>

using namespace fathom;
static_assert(Residual<ReZeroPerLayer, FeedForward<4, 8>>::width == 4);
