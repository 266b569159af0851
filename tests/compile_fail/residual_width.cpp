// expect: CheckChain<0, 8, 6>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/residual.hpp>

static_assert(fathom::Residual<fathom::PreNorm, fathom::Linear<6, 8>>::input_width == 8);
