// expect: share one learned scalar has neither a norm behind the sum nor the layer's input on top: give each sublayer a
// scalar of its own SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/residual_block.hpp>

using namespace fathom;
struct Shared : PlainResidual {
  static constexpr LearnedScale learned = LearnedScale::layer_scalar;
  static constexpr bool post_norm = true;
};
static_assert(ResidualBlock<Shared, LayerNorm<8>, FeedForward<8, 16, Gelu>>::input_width == 8);
