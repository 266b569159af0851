// expect: an option that attention does not know
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

struct Sliding {
  using tag = Sliding;
};
static_assert(fathom::Attention<12, 6, fathom::Causal, Sliding>::kv_width > 0);
