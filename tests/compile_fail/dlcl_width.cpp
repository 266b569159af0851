// expect: CheckChain<0, 8, 6>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/dlcl.hpp>
#include <fathom/layers/linear.hpp>

static_assert(fathom::Dlcl<2, fathom::Linear<8, 8>, fathom::StoreAll, fathom::LayerNorm<6>>::input_width == 8);
