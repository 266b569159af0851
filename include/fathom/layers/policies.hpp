// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <fathom/core/config.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/root.hpp>

/// Residual policies. Each is a handful of facts about z = a(l) ⊙ x + b(l) ⊙ G(pre(x)), with or without norms, and
/// about the initial gain of the matrices in G; `Residual` turns them into a sublayer.
namespace fathom::inline FATHOM_ABI {

/// What a sublayer learns besides G and its norms.
enum class LearnedScale { none, branch_scalar, skip_vector };

/// The facts of y = x + G(x) with gain 1; policies override what differs.
struct PlainResidual {
  static constexpr bool pre_norm = false;    ///< G reads norm(x)
  static constexpr bool post_norm = false;   ///< y = norm(z)
  static constexpr bool final_norm = false;  ///< the stack's output wants one more norm
  static constexpr LearnedScale learned = LearnedScale::none;
  static constexpr double learned_init = 1;
  static constexpr bool profiled = false;    ///< the learned scale starts from a profiling pass
  static constexpr bool unit_input = false;  ///< which takes the variance of x for 1

  static constexpr double skip(BlockIndex) { return 1; }
  static constexpr double branch(BlockIndex) { return 1; }
  static constexpr double gain(Role, BlockIndex) { return 1; }
  /// The alpha that belongs to a depth, which a model compares with that of its stacks; 0: any depth will do.
  static constexpr double alpha_for_depth() { return 0; }
};

/// Whether `Policy` states all of these facts.
template <class Policy>
concept StatesResidualFacts = requires(Role role, BlockIndex block) {
  { Policy::pre_norm } -> std::convertible_to<bool>;
  { Policy::post_norm } -> std::convertible_to<bool>;
  { Policy::final_norm } -> std::convertible_to<bool>;
  { Policy::learned } -> std::convertible_to<LearnedScale>;
  { Policy::learned_init } -> std::convertible_to<double>;
  { Policy::profiled } -> std::convertible_to<bool>;
  { Policy::unit_input } -> std::convertible_to<bool>;
  { Policy::skip(block) } -> std::convertible_to<double>;
  { Policy::branch(block) } -> std::convertible_to<double>;
  { Policy::gain(role, block) } -> std::convertible_to<double>;
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

/// y = x + s · G(x) with a learned scalar s that starts at 0.   Source: Bachlechner et al. 2020, arXiv:2003.04887.
struct ReZero : PlainResidual {
  static constexpr const char* name = "ReZero";
  static constexpr LearnedScale learned = LearnedScale::branch_scalar;
  static constexpr double learned_init = 0;
};

/// y = LN(ω ⊙ x + G(x)) with a learned vector ω per sublayer that starts from a profiling pass, as in the authors' code:
/// ω_1 = 1 and ω_{l+1}² = Var(ω_l x_l) + Var(G_l), over all elements of a batch, with the run's dropout. A norm makes
/// Var(x_l) about 1 from the second sublayer on, so ω_l² is about Var(x_1) + Σ_{j<l} Var(G_j), x_1 the embedded input.
/// Encoder and decoder begin with 1 each.
/// Source: Liu et al. 2020, arXiv:2004.08249, section 4; github.com/LiyuanLucasLiu/Transformer-Clinic.
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

}  // namespace fathom::inline FATHOM_ABI
