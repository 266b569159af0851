// expect: Residual: its first argument is no residual policy.*derive a policy of your own from PlainResidual
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/residual_block.hpp>

using namespace fathom;
struct HalfBranch {
  static constexpr const char* name = "HalfBranch";
  static constexpr double branch(BlockIndex) { return 0.5; }
};
static_assert(ResidualBlock<HalfBranch, LayerNorm<8>, Attention<8, 2, Causal>, FeedForward<8, 16, Gelu>>::input_width ==
              8);
