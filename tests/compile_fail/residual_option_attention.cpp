// expect: Residual: this policy changes the inside of its sublayers.*Option.*AttentionFor<Policy
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>
#include <fathom/layers/residual.hpp>

using namespace fathom;
static_assert(Residual<SubNorm<2.0>, Attention<4, 2>>::width == 4);
