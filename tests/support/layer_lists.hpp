// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/layers/attention.hpp>
#include <fathom/layers/dlcl.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/linear.hpp>
#include <fathom/layers/norm.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/residual_block.hpp>
#include <fathom/layers/sequence.hpp>
#include <tuple>

/// Every layer, by what its gradient check needs, for TEMPLATE_LIST_TEST_CASE. A new layer gets a line here and is then
/// checked on every backend.
namespace fathom_test {
using namespace fathom;

// One layer a line.
// clang-format off
using LinearLayers = std::tuple<
  Linear<5, 7>,
  Linear<6, 1, false>>;

using NormLayers = std::tuple<
  LayerNorm<6>,
  LayerNorm<7, 0.5>,
  RmsNorm<6>,
  RmsNorm<7, 0.5>,
  ShiftedOutput<6, false>,
  ShiftedOutput<6, true>>;

using AttentionLayers = std::tuple<
  Attention<6, 1>,
  Attention<8, 2>,
  Attention<6, 3, Full>,
  Attention<8, 2, Causal, NoBias>,
  Attention<8, 4, Causal, KeyValueHeads<2>>,
  Attention<6, 3, Full, KeyValueHeads<1>>,
  Attention<8, 2, Causal, Rotary<>>,
  Attention<12, 3, Full, NoBias, Rotary<100.0>>,
  Attention<8, 4, Causal, Rotary<>, KeyValueHeads<2>>,
  Attention<8, 2, Causal, SaveAll>,
  Attention<8, 2, Causal, InnerNorm>,
  Attention<8, 4, Full, HeadScales, KeyValueHeads<2>>,
  Attention<8, 4, Causal, RelativePositions<5, 4>, KeyValueHeads<2>, NoBias>,
  Attention<6, 3, Full, RelativePositions<6, 3>>,
  Attention<8, 4, Full, SaveAll, Rotary<>, KeyValueHeads<2>, NoBias>>;

/// Layers that read a side input of this width.
inline constexpr int memory_width = 5;
using MemoryLayers = std::tuple<
  CrossAttention<8, 2, memory_width>,
  CrossAttention<6, 3, memory_width, KeyValueHeads<1>, NoBias>,
  CrossAttention<8, 2, memory_width, HeadScales>,
  CrossAttention<8, 2, memory_width, InnerNorm>,
  Repeat<2, Sequence<Residual<PostNorm, Attention<4, 2>>, Residual<PostNorm, CrossAttention<4, 2, memory_width>>>>>;

using SmoothFeedForwardLayers = std::tuple<
  FeedForward<6, 10>,
  FeedForward<6, 10, GeluTanh>,
  FeedForward<6, 10, Silu, NoBias>,
  FeedForward<6, 10, SwiGlu>,
  FeedForward<6, 10, SwiGlu, NoBias>,
  FeedForward<6, 10, GeGlu>,
  FeedForward<6, 10, Gelu, InnerNorm>,
  FeedForward<6, 10, SwiGlu, ScalarShifts, NoBias>>;

/// Layers with kinks, where central differences need a small step.
using KinkedFeedForwardLayers = std::tuple<
  FeedForward<6, 10, Relu>,
  FeedForward<6, 10, ReGlu, NoBias>>;

/// All norms at once, with both constants other than 1.
struct AllNorms : PlainResidual {
  static constexpr bool pre_norm = true, branch_norm = true, post_norm = true;
  static constexpr double skip(BlockIndex) { return 1.5; }
  static constexpr double branch(BlockIndex) { return 0.5; }
};
/// A skip from behind the norm that the branch reads, and a learned vector on a normed branch.
struct NormedSkip : PlainResidual {
  static constexpr bool pre_norm = true, normed_skip = true, branch_norm = true;
  static constexpr LearnedScale learned = LearnedScale::branch_vector;
  static constexpr double skip(BlockIndex) { return 1.5; }
};
/// The layer's input on top, scaled.
struct LayerInputOnTop : PostNorm {
  static constexpr bool adds_layer_input = true;
  static constexpr double skip(BlockIndex) { return 1.5; }
};
/// The same without a norm behind it.
struct LayerInputOnTopOfPreNorm : PreNorm {
  static constexpr bool adds_layer_input = true;
};
using Branch = FeedForward<6, 8>;
using ResidualLayers = std::tuple<
  Residual<PlainResidual, Branch>,
  Residual<PostNorm, Branch>,
  Residual<PostNorm, Branch, RmsNorm<6>>,
  Residual<PreNorm, Branch>,
  Residual<PreNorm, Branch, RmsNorm<6>>,
  Residual<DeepNorm<2.5>, Branch>,
  Residual<DeepNorm<2.5>, Branch, RmsNorm<6>>,
  Repeat<2, Residual<PostNormInit, Branch>>,  // a stack: its initial values depend on the depth
  Residual<ReZero, Branch>,
  Residual<Admin, Branch>,
  Residual<Admin, Branch, RmsNorm<6>>,
  Residual<Unchecked<AllNorms>, Branch>,
  Residual<NormedSkip, Branch>,
  ResidualBlock<LayerInputOnTop, LayerNorm<6>, Branch, Branch>,
  ResidualBlock<LayerInputOnTopOfPreNorm, LayerNorm<6>, Branch>,
  Repeat<2, ResidualBlock<ReZeroPerLayer, LayerNorm<6>, Branch, Branch>>,
  Residual<PreNorm, Sequence<Residual<PreNorm, Branch>>>>;

template <class Policy>
using Block = Sequence<Residual<Policy, Attention<6, 2>>, Residual<Policy, FeedForward<6, 8>>>;
using CompositionLayers = std::tuple<
  Sequence<Linear<4, 6>>,
  Sequence<Linear<4, 6>, LayerNorm<6>, FeedForward<6, 5>, Linear<6, 3>>,
  Sequence<Linear<4, 4>, Linear<4, 4, false>, Linear<4, 4>>,
  Repeat<1, Linear<4, 4>>,
  Repeat<3, Block<DeepNorm<1.7>>>,
  Repeat<3, Block<PreNorm>, Recompute<1>>,
  Repeat<5, Block<DeepNorm<1.7>>, Recompute<3>>,
  Repeat<5, Block<DeepNorm<1.7>>, RecomputeSqrt>,
  Repeat<2, Block<ReZero>>,  // of more, without norms, scores are too large for what agreement asks for
  Repeat<2, Sequence<Block<Admin>, Repeat<2, Block<PostNorm>>>>,
  Dlcl<1, Linear<4, 4>>,
  Dlcl<3, Block<PreNorm>>,
  Dlcl<3, Block<DeepNorm<1.7>>, Recompute<1>, RmsNorm<6>>,
  DlclPost<1, Linear<4, 4>>,
  DlclPost<3, Block<PostNorm>, Recompute<1>>>;
// clang-format on

}  // namespace fathom_test
