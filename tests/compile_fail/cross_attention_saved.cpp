// expect: it saves q, k, v and o; leave SaveAll and SaveQueriesAndKeys out
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

static_assert(fathom::CrossAttention<8, 2, 8, fathom::SaveQueriesAndKeys>::kv_width > 0);
