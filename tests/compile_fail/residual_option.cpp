// expect: Residual: this policy changes the inside of its sublayers.*FeedForwardFor<Policy
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/residual.hpp>

using namespace fathom;
static_assert(Residual<NormFormer, FeedForward<4, 8>>::width == 4);
