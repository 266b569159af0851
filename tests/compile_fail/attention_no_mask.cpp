// expect: Attention: its third argument is the mask: say Causal or Full there, options behind it
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

static_assert(fathom::Attention<64, 4, fathom::Rotary<>>::kv_width > 0);
