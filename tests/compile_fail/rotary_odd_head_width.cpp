// expect: the head width must be even
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

static_assert(fathom::Attention<6, 2, fathom::Causal, fathom::Rotary<>>::kv_width > 0);
