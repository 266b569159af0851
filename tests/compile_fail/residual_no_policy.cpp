// expect: Residual: its first argument is no residual policy.*derive a policy of your own from PlainResidual
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/residual.hpp>

struct HalfBranch {
  static constexpr const char* name = "HalfBranch";
  static constexpr double branch(fathom::BlockIndex) { return 0.5; }
};
static_assert(fathom::Residual<HalfBranch, fathom::Linear<8, 8>>::input_width == 8);
