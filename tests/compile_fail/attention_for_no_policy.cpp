// expect: Residual: its first argument is no residual policy.*derive a policy of your own from PlainResidual
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/residual_block.hpp>

struct HalfBranch {
  static constexpr const char* name = "HalfBranch";
};
static_assert(fathom::AttentionFor<HalfBranch, 8, 2>::input_width == 8);
