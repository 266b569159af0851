// expect: Attention: an option that attention does not know
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

// Cross-attention sees all of the memory: it takes no mask.
static_assert(fathom::CrossAttention<64, 4, 64, fathom::Full>::kv_width > 0);
