// expect: Residual: its first argument is no residual policy.*Residual<Policy, Sublayer>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/residual.hpp>

static_assert(fathom::Residual<fathom::Linear<8, 8>, fathom::PreNorm>::input_width == 8);
