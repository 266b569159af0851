// expect: not divisible by KeyValueHeads
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

static_assert(fathom::Attention<12, 6, fathom::Causal, fathom::KeyValueHeads<4>>::kv_width > 0);
