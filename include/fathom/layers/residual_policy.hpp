// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <fathom/core/config.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/layers/layer.hpp>
#include <type_traits>

/// Residual policies. Each is a handful of facts about z = a(l) ⊙ s + b(l) ⊙ G(pre(x)), with or without norms, about
/// the initial gain of the matrices in G and about what its sublayers need inside; `Residual` turns them into a
/// sublayer, and `ResidualBlock` sublayers into a layer.
namespace fathom::inline FATHOM_ABI {

/// What a sublayer learns besides G and its norms: a scalar or a vector on its branch, a scalar that all sublayers of a
/// layer have on theirs, or a vector on its skip.
enum class LearnedScale { none, branch_scalar, branch_vector, layer_scalar, skip_vector };

/// Options of a layer that a policy asks for.
template <class... Options>
struct LayerOptions {};

/// The facts of y = x + G(x) with gain 1; policies override what differs. One that differs by kind of sublayer has a
/// member `template <class Sublayer> using On`, the policy whose facts hold for such a sublayer.
struct PlainResidual {
  static constexpr bool pre_norm = false;      ///< G reads norm(x)
  static constexpr bool normed_skip = false;   ///< and so does the skip
  static constexpr bool shifts_input = false;  ///< G reads x + a learned number
  static constexpr bool branch_norm = false;   ///< norm(G) is added in place of G
  static constexpr bool post_norm = false;     ///< y = norm(z)
  static constexpr bool final_norm = false;    ///< the stack's output wants one more norm
  /// The last sublayer of a layer adds the input of the layer too.
  static constexpr bool adds_layer_input = false;
  static constexpr LearnedScale learned = LearnedScale::none;
  static constexpr bool profiled = false;    ///< the learned scale starts from a profiling pass
  static constexpr bool unit_input = false;  ///< which takes the variance of x for 1

  /// What has to be among the options of its sublayers: of attention, cross-attention, and those that see no other row.
  using AttentionOptions = LayerOptions<>;
  using CrossAttentionOptions = LayerOptions<>;
  using FeedForwardOptions = LayerOptions<>;

  static constexpr double skip(BlockIndex) { return 1; }
  static constexpr double branch(BlockIndex) { return 1; }
  /// The factor on the initial values of a tensor of G, or of the learned scale, which starts at 1 without it.
  static constexpr double gain(Role, BlockIndex) { return 1; }
  /// The same for what a model has around a stack of this depth: its embeddings and the output matrix.
  static constexpr double outer_gain(Role, int /*depth*/) { return 1; }
  /// The alpha that belongs to a depth, which a model compares with that of its stacks; 0: any depth will do.
  static constexpr double alpha_for_depth() { return 0; }
};

/// Whether `Policy` states all of these facts.
template <class Policy>
concept StatesResidualFacts = requires(Role role, BlockIndex block) {
  { Policy::pre_norm } -> std::convertible_to<bool>;
  { Policy::normed_skip } -> std::convertible_to<bool>;
  { Policy::shifts_input } -> std::convertible_to<bool>;
  { Policy::branch_norm } -> std::convertible_to<bool>;
  { Policy::post_norm } -> std::convertible_to<bool>;
  { Policy::final_norm } -> std::convertible_to<bool>;
  { Policy::adds_layer_input } -> std::convertible_to<bool>;
  { Policy::learned } -> std::convertible_to<LearnedScale>;
  { Policy::profiled } -> std::convertible_to<bool>;
  { Policy::unit_input } -> std::convertible_to<bool>;
  typename Policy::AttentionOptions;
  typename Policy::CrossAttentionOptions;
  typename Policy::FeedForwardOptions;
  { Policy::skip(block) } -> std::convertible_to<double>;
  { Policy::branch(block) } -> std::convertible_to<double>;
  { Policy::gain(role, block) } -> std::convertible_to<double>;
  { Policy::outer_gain(role, 1) } -> std::convertible_to<double>;
  { Policy::alpha_for_depth() } -> std::convertible_to<double>;
};

/// `Policy` is a residual policy; the template argument is the message.
template <class Policy>
struct CheckPolicy {
  static_assert(StatesResidualFacts<Policy>,
                "Residual: its first argument is no residual policy: say Residual<Policy, Sublayer> with one of "
                "policies.hpp (PreNorm, PostNorm, DeepNorm<alpha>, …), or derive a policy of your own from "
                "PlainResidual, which states what yours does not");
  static constexpr bool value = true;
};

/// Whether the sublayers of a layer need each other, so that they stand in a `ResidualBlock`.
template <class Policy>
inline constexpr bool joins_sublayers = Policy::learned == LearnedScale::layer_scalar || Policy::adds_layer_input;

/// The kinds of sublayers that policies tell apart. Whatever sees no other row is a feed-forward.
template <class Sublayer>
inline constexpr bool is_cross_attention = memory_width_of<Sublayer> != 0;
template <class Sublayer>
inline constexpr bool is_attention = !is_cross_attention<Sublayer> && Sublayer::sees != Sees::itself;

/// The policy whose facts hold for a sublayer.
template <class Policy, class Sublayer>
struct FindPolicyOn {
  using type = Policy;
};
template <class Policy, class Sublayer>
  requires requires { typename Policy::template On<Sublayer>; }
struct FindPolicyOn<Policy, Sublayer> {
  using type = typename Policy::template On<Sublayer>;
};
template <class Policy, class Sublayer>
using PolicyOn = typename FindPolicyOn<Policy, Sublayer>::type;

/// The options that a policy asks of a sublayer.
template <class Policy, class Sublayer>
using OptionsOn = std::conditional_t<
    is_cross_attention<Sublayer>, typename Policy::CrossAttentionOptions,
    std::conditional_t<is_attention<Sublayer>, typename Policy::AttentionOptions, typename Policy::FeedForwardOptions>>;

/// Whether a sublayer was given an option: it says `template <class Option> static constexpr bool has`.
template <class Sublayer, class Option>
inline constexpr bool has_option = false;
template <class Sublayer, class Option>
  requires requires { Sublayer::template has<Option>; }
inline constexpr bool has_option<Sublayer, Option> = Sublayer::template has<Option>;

/// A sublayer has an option that its policy asks for; the template arguments are the message.
template <class Policy, class Sublayer, class Option>
struct CheckOption {
  static_assert(
      has_option<Sublayer, Option>,
      "Residual: this policy changes the inside of its sublayers, and this Sublayer was not given the Option that "
      "does it: put the Option behind its other arguments, or say AttentionFor<Policy, ...>, "
      "CrossAttentionFor<Policy, ...>, FeedForwardFor<Policy, ...>, which have it");
  static constexpr bool value = true;
};
template <class Policy, class Sublayer, class... Options>
constexpr bool has_options(LayerOptions<Options...>) {
  return (CheckOption<Policy, Sublayer, Options>::value && ...);
}
template <class Policy, class Sublayer>
struct CheckOptions {
  static constexpr bool value = has_options<Policy, Sublayer>(OptionsOn<Policy, Sublayer>{});
};

/// What stands behind a stack: a norm for a policy that wants one, a layer of the policy's own, its member
/// `template <int Width> using FinalLayer`, or nothing, which is void.
template <class Policy, class NormLayer>
struct FindFinalLayer {
  using type = std::conditional_t<Policy::final_norm, NormLayer, void>;
};
template <class Policy, class NormLayer>
  requires requires { typename Policy::template FinalLayer<NormLayer::output_width>; }
struct FindFinalLayer<Policy, NormLayer> {
  using type = typename Policy::template FinalLayer<NormLayer::output_width>;
};
template <class Policy, class NormLayer>
using FinalLayerOf = typename FindFinalLayer<Policy, NormLayer>::type;

}  // namespace fathom::inline FATHOM_ABI
