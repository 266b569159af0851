// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/layers/residual_block.hpp>

namespace my {
using namespace fathom;

/// y = x + G(LN(x)) / sqrt(N) in a stack of N layers, one more norm at its end.
/// Source: Yang et al. 2023, arXiv:2310.02244 (depth-µP), for the multiplier of the branch.
struct DepthScaled : PreNorm {
  static constexpr const char* name = "DepthScaled";
  static constexpr double branch(BlockIndex block) { return 1 / square_root(depth_of(block)); }
};

}  // namespace my
