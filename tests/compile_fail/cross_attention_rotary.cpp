// expect: rotary positions relate tokens of one sequence
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

static_assert(fathom::CrossAttention<8, 2, 8, fathom::Rotary<>>::kv_width > 0);
