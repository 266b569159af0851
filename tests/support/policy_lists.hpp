// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual_block.hpp>
#include <fathom/models/deepnorm_constants.hpp>
#include <string>
#include <tuple>

/// Every residual policy, in small stacks of each kind. A new policy gets a line here, and is then checked as the
/// others.
namespace fathom_test {
using namespace fathom;

/// Layers of each of the stacks below.
inline constexpr int stack_depth = 3;

/// A policy in a stack that is alone in its model, in an encoder, and in the decoder that reads that.
template <class Alone, class EncoderPolicy = Alone, class DecoderPolicy = Alone>
struct PolicyCase {
  using InStack = Alone;
  using InEncoder = EncoderPolicy;
  using InDecoder = DecoderPolicy;
};

inline constexpr auto policy_constants = deepnorm::encoder_decoder(stack_depth, stack_depth);

// One policy a line.
// clang-format off
using PolicyCases = std::tuple<
  PolicyCase<PostNorm>,
  PolicyCase<PreNorm>,
  PolicyCase<DeepNorm<deepnorm::decoder_only(stack_depth).alpha>, DeepNorm<policy_constants.encoder.alpha>,
             DeepNorm<policy_constants.decoder.alpha>>,
  PolicyCase<PostNormInit>,
  PolicyCase<ReZero>,
  PolicyCase<ReZeroPerLayer>,
  PolicyCase<Admin>,
  PolicyCase<AdminClosedForm<2 * stack_depth>, AdminClosedForm<2 * stack_depth>, AdminClosedForm<3 * stack_depth>>,
  PolicyCase<DsInit>,
  PolicyCase<DsInitOfVariance>,
  PolicyCase<TFixup, TFixup, TFixupDecoder>,
  PolicyCase<Fixup<2 * stack_depth>, FixupEncoder<5 * stack_depth>, Fixup<5 * stack_depth>>,
  PolicyCase<LayerScale>,
  PolicyCase<SandwichNorm>,
  PolicyCase<GlmNorm>,
  PolicyCase<BottomToTop>,
  PolicyCase<NormFormer>,
  PolicyCase<NormFormerWithScale>,
  PolicyCase<Keel<2 * stack_depth>, Keel<2 * stack_depth>, Keel<3 * stack_depth>>,
  PolicyCase<SubNorm<sub_norm_gain(stack_depth)>, SubNorm<sub_norm_encoder_gain(stack_depth, stack_depth)>,
             SubNorm<sub_norm_decoder_gain(stack_depth)>>>;
// clang-format on

/// One of each kind of structure, where compiling all would take minutes: shared scalars, profiled skips, shifts and
/// multipliers, norms of branches, normed skips, a layer's input on top, learned skips with head scales, inner norms.
using PolicyKinds =
    std::tuple<PolicyCase<ReZeroPerLayer>, PolicyCase<Admin>,
               PolicyCase<Fixup<2 * stack_depth>, FixupEncoder<5 * stack_depth>, Fixup<5 * stack_depth>>,
               PolicyCase<SandwichNorm>, PolicyCase<GlmNorm>, PolicyCase<BottomToTop>, PolicyCase<NormFormerWithScale>,
               PolicyCase<SubNorm<sub_norm_gain(stack_depth)>, SubNorm<sub_norm_encoder_gain(stack_depth, stack_depth)>,
                          SubNorm<sub_norm_decoder_gain(stack_depth)>>>;

/// Layers of stacks under a policy.
template <class Policy, int Width, class Mask>
using PolicyBlock = ResidualBlock<Policy, LayerNorm<Width>, AttentionFor<Policy, Width, 2, Mask>,
                                  FeedForwardFor<Policy, Width, Width + 2>>;
template <class Policy, int Width, int MemoryWidth = Width>
using PolicyDecoderBlock =
    ResidualBlock<Policy, LayerNorm<Width>, AttentionFor<Policy, Width, 2>,
                  CrossAttentionFor<Policy, Width, 2, MemoryWidth>, FeedForwardFor<Policy, Width, Width + 2>>;

template <class Case, int Width, class... Options>
using EncoderOnlyStack = Repeat<stack_depth, PolicyBlock<typename Case::InStack, Width, Full>, Options...>;
template <class Case, int Width, class... Options>
using DecoderOnlyStack = Repeat<stack_depth, PolicyBlock<typename Case::InStack, Width, Causal>, Options...>;
template <class Case, int Width, class... Options>
using EncoderStack = Repeat<stack_depth, PolicyBlock<typename Case::InEncoder, Width, Full>, Options...>;
template <class Case, int Width, int MemoryWidth = Width, class... Options>
using DecoderStack = Repeat<stack_depth, PolicyDecoderBlock<typename Case::InDecoder, Width, MemoryWidth>, Options...>;

}  // namespace fathom_test
