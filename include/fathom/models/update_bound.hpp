// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/root.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual_policy.hpp>
#include <fathom/layers/sequence.hpp>
#include <type_traits>

/// How far a model can move when the matrices of its branches do: the bounds of DeepNet's Theorems 4.2 and 4.3, at
/// compile time, from the residual policies of the model's type.
///
/// Sublayers  y = LN(α x + G(x)), where G is as large as the product of two scales v and w: those of the value and the
///            output matrix of attention, of the two matrices of a feed-forward layer; 1 is Xavier's.
/// Assumed    by the theorems: weights of one number each, variances that add up, first order in what moves; queries,
///            keys, norms' gains and biases are not in it. So a bound tells how the movement grows with depth, and what
///            one policy does beside another, up to a factor that depends on width and data.
/// Source     Wang et al. 2022, arXiv:2203.00555, section 4 and appendix A.
namespace fathom::inline FATHOM_ABI {

/// What the theorems know of a sublayer.
struct BoundSublayer {
  bool in_encoder;  ///< of a model of two stacks
  int index;        ///< in its stack, from 0
  double alpha, v, w;

  /// √(v² + w²) / α: how far F moves for a small movement of the sublayer's matrices.
  constexpr double slope() const { return square_root(v * v + w * w) / alpha; }
};

/// The theorems are about post-norms whose scales are known at compile time; the template argument is the message.
template <class Policy>
struct CheckBound {
  static_assert(Policy::post_norm && !Policy::pre_norm && !Policy::branch_norm && !Policy::adds_layer_input &&
                    !Policy::profiled &&
                    (Policy::learned == LearnedScale::none || Policy::learned == LearnedScale::skip_vector),
                "fathom: Theorems 4.2 and 4.3 are about sublayers LN(alpha x + G(x)) with constants, which this "
                "residual policy has not: measure its update with Telemetry::model_update");
  static constexpr bool value = true;
};

/// They are about one sublayer behind the other; the template argument is the message.
template <class Stack>
struct CheckBoundStack {
  static_assert(
      std::is_same_v<Stack, void>,
      "fathom: Theorems 4.2 and 4.3 are about stacks whose layers read the one before them, and this one sums "
      "up earlier ones: measure its update with Telemetry::model_update");
};

namespace detail {

/// Calls `f(residual, block)` for the residual sublayers of a stack, or of each of several, from the bottom up.
template <class L>
struct EachSublayer {
  static constexpr void run(auto&& f) {
    if constexpr (requires { typename L::ResidualPolicy; })
      f(std::type_identity<L>{}, BlockIndex{});
    else if constexpr (requires {
                         L::depth;
                         typename L::Block;
                       })
      CheckBoundStack<L>{};
    else if constexpr (requires { L::each_child([](auto) {}); })
      L::each_child([&](auto child) { EachSublayer<typename decltype(child)::type>::run(f); });
  }
};
template <int N, class Block, class... Options>
struct EachSublayer<Repeat<N, Block, Options...>> {
  static constexpr void run(auto&& f) {
    for (BlockIndex block{0, N}; block.index < block.depth; ++block.index)
      each_residual<Block>([&](auto residual) { f(residual, block); });
  }
};

/// Calls `f(sublayer, whether it reads the encoder's output)` for the sublayers of a stack, from the bottom up.
template <class Stack>
constexpr void each_bound_sublayer(bool in_encoder, auto&& f) {
  int index = 0;
  EachSublayer<Stack>::run([&](auto residual, BlockIndex block) {
    using R = typename decltype(residual)::type;
    using Facts = typename R::Facts;
    static_assert(CheckBound<Facts>::value);
    bool crosses = false;
    R::each_child([&](auto child) { crosses |= is_cross_attention<typename decltype(child)::type>; });
    const bool attends = crosses || R::sees != Sees::itself;
    const double learned = Facts::learned == LearnedScale::none ? 1 : Facts::gain(Role::skip_scale, block);
    f(BoundSublayer{.in_encoder = in_encoder,
                    .index = index++,
                    .alpha = Facts::skip(block) * learned / Facts::branch(block),
                    .v = Facts::gain(attends ? Role::value : Role::feed_forward_input, block),
                    .w = Facts::gain(attends ? Role::attention_output : Role::feed_forward_output, block)},
      crosses);
  });
}

}  // namespace detail

/// The bound of ‖ΔF‖ where the matrices of sublayer i, θ_i, move by `moved(sublayer)` = ‖θ*_i − θ_i‖.
///
/// One stack of N layers, theorem 4.2:
///   Σ_{i=1..2N} √(v_i² + w_i²) / α_i · ‖θ*_i − θ_i‖
/// An encoder of N and a decoder of M layers, of which sublayer 3j − 1 reads the encoder's output, theorem 4.3:
///   Σ_{j=1..M} v_{d,3j−1} w_{d,3j−1} / α_d · Σ_{i=1..2N} √(v_ei² + w_ei²) / α_e · ‖θ*_ei − θ_ei‖
///     + Σ_{j=1..3M} √(v_dj² + w_dj²) / α_d · ‖θ*_dj − θ_dj‖
template <class Model>
constexpr double update_bound(auto&& moved) {
  double of_encoder = 0, through = 0, sum = 0;
  const auto add_to = [&](double& total) {
    return [&](const BoundSublayer& sublayer, bool crosses) {
      total += sublayer.slope() * moved(sublayer);
      if (crosses) through += sublayer.v * sublayer.w / sublayer.alpha;
    };
  };
  if constexpr (requires { typename Model::Source; }) {
    detail::each_bound_sublayer<typename Model::Source::Stack>(true, add_to(of_encoder));
    detail::each_bound_sublayer<typename Model::Target::Stack>(false, add_to(sum));
  } else {
    detail::each_bound_sublayer<typename Model::Stack>(false, add_to(sum));
  }
  return through * of_encoder + sum;
}

/// The same for one step of gradient descent with this rate, where ‖∂L/∂F‖ = 1 and the gradient of a sublayer is
/// √(v² + w²) / α, its own: each term gets the factor rate · √(v² + w²) / α once more. The theorems bound all gradients
/// by that of the last sublayer, which is the same where all have equal constants. DeepNorm's
/// constants make it the rate for one stack and twice the rate for an encoder and a decoder, whatever the depth.
template <class Model>
constexpr double sgd_update_bound(double rate) {
  return update_bound<Model>([=](const BoundSublayer& sublayer) { return rate * sublayer.slope(); });
}

}  // namespace fathom::inline FATHOM_ABI
