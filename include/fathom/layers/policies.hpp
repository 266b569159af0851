// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <fathom/core/config.hpp>
#include <fathom/core/logarithm.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/root.hpp>
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
  static constexpr bool pre_norm = false;     ///< G reads norm(x)
  static constexpr bool normed_skip = false;  ///< and so does the skip
  static constexpr bool branch_norm = false;  ///< norm(G) is added in place of G
  static constexpr bool post_norm = false;    ///< y = norm(z)
  static constexpr bool final_norm = false;   ///< the stack's output wants one more norm
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

/// Value, attention output and feed-forward matrices: what DeepNorm's theory and its relatives scale. Queries, keys and
/// the gate of a gated layer keep gain 1, so that a gated branch scales with beta squared like an ungated one.
constexpr bool scaled_by_depth(Role role) {
  return role == Role::value || role == Role::attention_output || role == Role::feed_forward_input ||
         role == Role::feed_forward_output;
}

/// y = LN(x + G(x)).   Source: Vaswani et al. 2017, arXiv:1706.03762.
struct PostNorm : PlainResidual {
  static constexpr const char* name = "PostNorm";
  static constexpr bool post_norm = true;
};

/// y = x + G(LN(x)), one more norm at the end of the stack.   Source: Xiong et al. 2020, arXiv:2002.04745.
struct PreNorm : PlainResidual {
  static constexpr const char* name = "PreNorm";
  static constexpr bool pre_norm = true, final_norm = true;
};

/// y = LN(Alpha · x + G(x)), matrices of G initialized with gain Beta.
///
/// Alpha from `deepnorm::decoder_only(depth).alpha` and its relatives; Beta is exactly 1 / (sqrt 2 · Alpha) in every
/// architecture of the paper.   Source: Wang et al. 2022, arXiv:2203.00555, figure 2.
template <double Alpha, double Beta = 1 / (square_root(2) * Alpha)>
struct DeepNorm : PostNorm {
  static_assert(Alpha > 0 && Beta > 0, "DeepNorm: alpha and beta must be positive");
  static constexpr const char* name = "DeepNorm";
  static constexpr double alpha = Alpha, beta = Beta;
  static constexpr double skip(BlockIndex) { return Alpha; }
  static constexpr double gain(Role role, BlockIndex) { return scaled_by_depth(role) ? Beta : 1; }
  static constexpr double alpha_for_depth() { return Alpha; }
};

/// Policy as it stands, whatever the depth: a model does not check that its constants fit.
template <class Policy>
struct Unchecked : Policy {
  static constexpr double alpha_for_depth() { return 0; }
};

/// Post-LN whose layer l of N is initialized smaller by N − l + 1; outside of a stack, like the last one of a stack, it
/// is not.   Source: DeepNet, arXiv:2203.00555, section 3; which matrices is not stated there: those that DeepNorm
/// scales.
struct PostNormInit : PostNorm {
  static constexpr const char* name = "PostNormInit";
  static constexpr double gain(Role role, BlockIndex block) {
    return scaled_by_depth(role) && block.depth > 0 ? 1.0 / (block.depth - block.index) : 1;
  }
};

/// y = x + s · G(x) with a learned scalar s a sublayer, which starts at 0. The authors have one a layer, see
/// `ReZeroPerLayer`.   Source: Bachlechner et al. 2020, arXiv:2003.04887, equation 4.
struct ReZero : PlainResidual {
  static constexpr const char* name = "ReZero";
  static constexpr LearnedScale learned = LearnedScale::branch_scalar;
  static constexpr double gain(Role role, BlockIndex) { return role == Role::branch_scale ? 0 : 1; }
};

/// The same with one scalar for all sublayers of a layer, as in the authors' Transformer.   Source: Bachlechner et al.
/// 2020, arXiv:2003.04887, section 5; github.com/majumderb/rezero.
struct ReZeroPerLayer : ReZero {
  static constexpr const char* name = "ReZeroPerLayer";
  static constexpr LearnedScale learned = LearnedScale::layer_scalar;
};

/// y = LN(ω ⊙ x + G(x)) with a learned vector ω per sublayer that starts from a profiling pass, as in the authors'
/// code: ω_1 = 1 and ω_{l+1}² = Var(ω_l x_l) + Var(G_l), over all elements of a batch, with the run's dropout. A norm
/// makes Var(x_l) about 1 from the second sublayer on, so ω_l² is about Var(x_1) + Σ_{j<l} Var(G_j), x_1 the embedded
/// input. Encoder and decoder begin with 1 each. Source: Liu et al. 2020, arXiv:2004.08249, section 4;
/// github.com/LiyuanLucasLiu/Transformer-Clinic.
struct Admin : PostNorm {
  static constexpr const char* name = "Admin";
  static constexpr LearnedScale learned = LearnedScale::skip_vector;
  static constexpr bool profiled = true;
};

/// Admin as the paper's equation has it, which takes an embedded input of variance 1 for granted: ω_l² = 1 + Σ_{j<l}
/// Var(G_j).   Source: Liu et al. 2020, arXiv:2004.08249, section 4.1.
struct AdminOfUnitInput : Admin {
  static constexpr const char* name = "AdminOfUnitInput";
  static constexpr bool unit_input = true;
};

/// Admin without a profiling pass: every ω starts at sqrt((L + 1) / ln(L + 1) − 1) for a model of L sublayers, for
/// which the authors assume that its output changes as O(log L). Source: Liu et al. 2020, arXiv:2004.08249;
/// github.com/microsoft/admin-torch.
template <int Sublayers>
struct AdminClosedForm : PostNorm {
  static_assert(Sublayers > 0, "AdminClosedForm: name the number of sublayers of the stack, at least 1");
  static constexpr const char* name = "AdminClosedForm";
  static constexpr LearnedScale learned = LearnedScale::skip_vector;
  static constexpr double omega = square_root((Sublayers + 1) / logarithm(Sublayers + 1) - 1);
  static constexpr double gain(Role role, BlockIndex) { return role == Role::skip_scale ? omega : 1; }
  static constexpr void describe(auto&& fact) { fact("sublayers", Sublayers); }
};

}  // namespace fathom::inline FATHOM_ABI
