// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/logarithm.hpp>
#include <fathom/core/options.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/root.hpp>
#include <fathom/layers/inner.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/residual_policy.hpp>
#include <fathom/layers/shifted_output.hpp>
#include <type_traits>

/// The residual policies of the literature, each with its source. What the facts mean is told in residual_policy.hpp.
namespace fathom::inline FATHOM_ABI {

/// The number of blocks of a stack; 1 outside of one.
constexpr int depth_of(BlockIndex block) { return block.depth > 0 ? block.depth : 1; }

/// Value, attention output and feed-forward matrices: what DeepNorm's theory and its relatives scale. Queries, keys and
/// the gate of a gated layer keep gain 1, so that a gated branch scales with beta squared like an ungated one.
constexpr bool scaled_by_depth(Role role) {
  return role == Role::value || role == Role::attention_output || role == Role::feed_forward_input ||
         role == Role::feed_forward_output;
}

/// All matrices of sublayers.
constexpr bool is_sublayer_matrix(Role role) {
  return scaled_by_depth(role) || role == Role::query || role == Role::key || role == Role::feed_forward_gate;
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
/// Alpha and Beta from `deepnorm::decoder_only(depth)` and its relatives. Without a Beta it is 1 / (sqrt 2 · Alpha), as
/// everywhere in the paper, but that it rounds the encoder of an encoder-decoder to 0.81 and 0.87, which makes Beta
/// 0.3 % smaller.   Source: Wang et al. 2022, arXiv:2203.00555, figure 2.
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

/// Post-LN whose layer l, from 1, has its matrices initialized smaller by sqrt(l): DS-Init.
/// Source: Zhang, Titov and Sennrich 2019, arXiv:1908.11365, equation 6.
struct DsInit : PostNorm {
  static constexpr const char* name = "DsInit";
  static constexpr double gain(Role role, BlockIndex block) {
    return is_sublayer_matrix(role) ? 1 / square_root(block.index + 1) : 1;
  }
};

/// The same as the authors' code has it, where 1 / sqrt(l) scales the variance: smaller by l^(1/4).
/// Source: github.com/bzhangGo/zero, models/transformer.py.
struct DsInitOfVariance : PostNorm {
  static constexpr const char* name = "DsInitOfVariance";
  static constexpr double gain(Role role, BlockIndex block) {
    return is_sublayer_matrix(role) ? 1 / fourth_root(block.index + 1) : 1;
  }
};

/// y = x + G(x) without norms: T-Fixup, for a stack of N layers with two sublayers each, the paper's encoder. Values,
/// outputs and feed-forward matrices are scaled by 0.67 N^(-1/4), embeddings by (9 N)^(-1/4), as in the authors' code.
/// Source: Huang et al. 2020, "Improving Transformer Optimization Through Better Initialization", section 3.2;
/// github.com/layer6ai-labs/T-Fixup.
struct TFixup : PlainResidual {
  static constexpr const char* name = "TFixup";
  static constexpr double gain(Role role, BlockIndex block) {
    return scaled_by_depth(role) ? 0.67 / fourth_root(depth_of(block)) : 1;
  }
  static constexpr double outer_gain(Role role, int depth) {
    return role == Role::embedding ? 1 / fourth_root(9 * depth) : 1;
  }
};

/// The same for M layers of a decoder with cross-attention: (9 M)^(-1/4) for the matrices too.
struct TFixupDecoder : TFixup {
  static constexpr const char* name = "TFixupDecoder";
  static constexpr double gain(Role role, BlockIndex block) {
    return scaled_by_depth(role) ? 1 / fourth_root(9 * depth_of(block)) : 1;
  }
};

/// y = x + s ⊙ G(LN(x)) with a learned vector s, which starts at 0.1 in stacks of up to 18 layers, at 1e-5 up to 24,
/// and at 1e-6 in deeper ones.   Source: Touvron et al. 2021, arXiv:2103.17239, section 2.
struct LayerScale : PreNorm {
  static constexpr const char* name = "LayerScale";
  static constexpr LearnedScale learned = LearnedScale::branch_vector;
  static constexpr double gain(Role role, BlockIndex block) {
    if (role != Role::branch_scale) return 1;
    return block.depth <= 18 ? 0.1 : block.depth <= 24 ? 1e-5 : 1e-6;
  }
};

/// y = x + LN(G(LN(x))), one more norm at the end of the stack.   Sources: Ding et al. 2021, arXiv:2105.13290
/// (Sandwich-LN); Kim et al. 2025, arXiv:2502.02732 (Peri-LN, which may norm embeddings too).
struct SandwichNorm : PreNorm {
  static constexpr const char* name = "SandwichNorm";
  static constexpr bool branch_norm = true;
};

/// y = α h + G(h) with h = LN(x), one more norm at the end of the stack; α = sqrt(2 N), and values, outputs and
/// feed-forward matrices start smaller by that: DeepNorm as GLM-130B has it, each norm at the entry of the sublayer
/// behind it. Source: Zeng et al. 2022, arXiv:2210.02414, section 2.1.
struct GlmNorm : PreNorm {
  static constexpr const char* name = "GlmNorm";
  static constexpr bool normed_skip = true;
  static constexpr double skip(BlockIndex block) { return square_root(2 * depth_of(block)); }
  static constexpr double gain(Role role, BlockIndex block) { return scaled_by_depth(role) ? 1 / skip(block) : 1; }
};

/// Post-LN whose last sublayer of a layer adds the layer's input too, y = LN(x_layer + h + G(h)): a connection from
/// bottom to top. Matrices start smaller by sqrt(N), as in the authors' code. Source: Takase et al. 2022,
/// arXiv:2206.00330, section 4; github.com/takase/b2t_connection.
struct BottomToTop : PostNorm {
  static constexpr const char* name = "BottomToTop";
  static constexpr bool adds_layer_input = true;
  static constexpr double gain(Role role, BlockIndex block) {
    return is_sublayer_matrix(role) ? 1 / square_root(depth_of(block)) : 1;
  }
};

/// y = x + LN(G(LN(x))) for attention, whose heads have learned factors, and y = x + G(LN(x)) for feed-forward layers
/// with a norm before their output matrix; one more norm at the end of the stack. Source: Shleifer et al. 2021,
/// arXiv:2110.09456, section 2. Cross-attention, which the authors do not have, is like attention.
struct NormFormer : PreNorm {
  static constexpr const char* name = "NormFormer";
  using AttentionOptions = LayerOptions<HeadScales>;
  using CrossAttentionOptions = LayerOptions<HeadScales>;
  using FeedForwardOptions = LayerOptions<InnerNorm>;
  template <class Sublayer>
  using On = std::conditional_t<Sublayer::sees == Sees::itself && !is_cross_attention<Sublayer>, PreNorm, SandwichNorm>;
};

/// NormFormer whose feed-forward layers have a learned vector on their skip too, y = λ ⊙ x + G(LN(x)), which helps
/// small models.   Source: Shleifer et al. 2021, arXiv:2110.09456, section 2.
struct NormFormerWithScale : NormFormer {
  static constexpr const char* name = "NormFormerWithScale";
  struct Scaled : PreNorm {
    static constexpr LearnedScale learned = LearnedScale::skip_vector;
  };
  template <class Sublayer>
  using On = std::conditional_t<Sublayer::sees == Sees::itself && !is_cross_attention<Sublayer>, Scaled, SandwichNorm>;
};

/// y = LN(α x + G(LN(x))) with α the number of sublayers of the stack: Keel, but for its first layer, see `KeelStack`
/// (stacks.hpp). The authors' norms have no biases.   Source: Chen and Wei 2026, arXiv:2601.19895.
template <int Sublayers>
struct Keel : PostNorm {
  static_assert(Sublayers > 0, "Keel: name the number of sublayers of the stack, at least 1");
  static constexpr const char* name = "Keel";
  static constexpr bool pre_norm = true;
  static constexpr double skip(BlockIndex) { return Sublayers; }
  static constexpr void describe(auto&& fact) { fact("sublayers", Sublayers); }
};

/// Keel's first layer: α is 1, and its self-attention is y = x + G(LN(x)).
struct KeelFirstLayer : Keel<1> {
  static constexpr const char* name = "KeelFirstLayer";
  template <class Sublayer>
  using On = std::conditional_t<Sublayer::sees == Sees::itself || is_cross_attention<Sublayer>, Keel<1>, PreNorm>;
};

/// Sub-LN: y = x + G(LN(x)) whose attention and feed-forward layers have a norm before their output matrix, one more
/// norm at the end of the stack; values, outputs and feed-forward matrices start larger by Gain. Cross-attention is as
/// in Pre-LN. Gain from `sub_norm_gain(depth)` and its relatives.   Source: Wang et al. 2022, arXiv:2210.06423, section
/// 2 and table 1.
template <double Gain>
struct SubNorm : PreNorm {
  static_assert(Gain > 0, "SubNorm: the gain must be positive");
  static constexpr const char* name = "SubNorm";
  using AttentionOptions = LayerOptions<InnerNorm>;
  using FeedForwardOptions = LayerOptions<InnerNorm>;
  static constexpr double gain(Role role, BlockIndex) { return scaled_by_depth(role) ? Gain : 1; }
  template <class Sublayer>
  using On = std::conditional_t<is_cross_attention<Sublayer>, PreNorm, SubNorm>;
};

/// Gains of `SubNorm`: one stack of N layers; an encoder of N layers before a decoder of M, and that decoder.
constexpr double sub_norm_gain(int layers) { return square_root(logarithm(2 * layers)); }
constexpr double sub_norm_encoder_gain(int encoder_layers, int decoder_layers) {
  return square_root(logarithm(3 * decoder_layers) * logarithm(2 * encoder_layers) / 3);
}
constexpr double sub_norm_decoder_gain(int decoder_layers) { return square_root(logarithm(3 * decoder_layers)); }

/// y = x + m · G(x + s) without norms and biases, with learned numbers m, which starts at 1, and s, which starts at 0:
/// Fixup for a model of `Branches` sublayers in all its stacks. The last matrix of a branch starts at zero, as does an
/// output matrix of its own; of m matrices the others start smaller by Branches^(1 / (2 m − 2)): m is 2 in a
/// feed-forward layer, which has shifts of its own, and 4 in attention. A shift stands behind the stack. Source: Zhang,
/// Dauphin and Ma 2019, arXiv:1901.09321, sections 3 and 4.2; github.com/hongyi-zhang/Fixup, whose fused matrices of
/// queries, keys and values come out smaller by another sqrt(2).
template <int Branches>
struct Fixup : PlainResidual {
  static_assert(Branches > 0, "Fixup: name the number of sublayers of all stacks, at least 1");
  static constexpr const char* name = "Fixup";
  static constexpr LearnedScale learned = LearnedScale::branch_scalar;
  static constexpr bool shifts_input = true;
  using AttentionOptions = LayerOptions<NoBias>;
  using CrossAttentionOptions = LayerOptions<NoBias>;
  using FeedForwardOptions = LayerOptions<NoBias, ScalarShifts>;
  template <int Width>
  using FinalLayer = ShiftedOutput<Width, false>;
  static constexpr double gain(Role role, BlockIndex) {
    if (role == Role::attention_output || role == Role::feed_forward_output) return 0;
    if (role == Role::feed_forward_input || role == Role::feed_forward_gate) return 1 / square_root(Branches);
    return is_sublayer_matrix(role) ? 1 / sixth_root(Branches) : 1;
  }
  static constexpr double outer_gain(Role role, int) { return role == Role::logits ? 0 : 1; }
  static constexpr void describe(auto&& fact) { fact("branches", Branches); }
};

/// The same for an encoder: a learned factor stands behind the last shift.
template <int Branches>
struct FixupEncoder : Fixup<Branches> {
  static constexpr const char* name = "FixupEncoder";
  template <int Width>
  using FinalLayer = ShiftedOutput<Width, true>;
};

}  // namespace fathom::inline FATHOM_ABI
