// expect: Attention: ScalarShifts are those of FeedForward; leave them out
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

using namespace fathom;
static_assert(Attention<4, 2, Causal, ScalarShifts>::output_width == 4);
