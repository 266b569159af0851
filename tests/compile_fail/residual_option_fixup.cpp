// expect: Residual: this policy changes the inside of its sublayers.*Option.*put the Option behind
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/residual.hpp>

using namespace fathom;
static_assert(Residual<Fixup<6>, FeedForward<4, 8, Relu, NoBias>>::width == 4);
