// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/policies.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/sequence.hpp>

namespace fathom::inline FATHOM_ABI {

/// Stacks one behind the other that are one: for methods whose first or last layers follow another rule than the rest.
///
///   Stacks<Repeat<3, Block<PostNorm>>, Repeat<9, Block<PreNorm>>>
///
/// Each numbers its layers from 0, and its policies know its depth alone. What the policy of the last one wants behind
/// a stack stands behind all.
template <class... Parts>
struct Stacks : Sequence<Parts...> {
  using Sublayers = Sequence<Parts...>;
  static constexpr int depth = (Parts::depth + ... + 0);
};

/// Mix-LN: the first `First` of N layers are Post-LN, a quarter of them unless said otherwise, the others Pre-LN.
///
///   template <class Policy>
///   using Block = ResidualBlock<Policy, LayerNorm<64>, Attention<64, 4>, FeedForward<64, 256>>;
///   MixNormStack<12, Block>
///
/// Source: Li, Yin and Liu 2024, arXiv:2412.13795, section 3.
template <int N, template <class Policy> class Block, int First = N / 4, class... Options>
using MixNormStack = Stacks<Repeat<First, Block<PostNorm>, Options...>, Repeat<N - First, Block<PreNorm>, Options...>>;

/// Keel: the first of N layers is `KeelFirstLayer`, the others are `Keel`.   KeelStack<12, Block>, of a block as above.
///
/// Source: Chen and Wei 2026, arXiv:2601.19895.
template <int N, template <class Policy> class Block, class... Options>
using KeelStack = Stacks<Repeat<1, Block<KeelFirstLayer>, Options...>,
                         Repeat<N - 1, Block<Keel<N * Block<PostNorm>::count>>, Options...>>;

}  // namespace fathom::inline FATHOM_ABI
