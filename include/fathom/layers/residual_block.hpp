// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <tuple>
#include <type_traits>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// Sublayers that share the learned branch scalar of their layer.
///
/// Gradients  those of the scalar are summed up over the sublayers.
template <class Policy, class... Residuals>
struct SharedScaleBlock : Sequence<Residuals...> {
  using Sublayers = Sequence<Residuals...>;

  template <class T>
  struct Params {
    typename Sublayers::template Params<T> sublayers;
    ScaleParams<T, 1, Role::branch_scale> scale;

    constexpr void each(auto& visitor) {
      sublayers.each(visitor);
      visitor.scaled(&Policy::gain, scale);
    }
    /// Those of the sublayers, the scalar among them.
    constexpr typename Sublayers::template Params<T> shared() const {
      auto params = sublayers;
      std::apply([&](auto&... sublayer) { ((sublayer.scale = scale), ...); }, params.layers);
      return params;
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                StreamIn<P, Sublayers::input_width> x, StreamOut<P, Sublayers::output_width> y,
                                typename Sublayers::template Saved<P>& saved) {
    Sublayers::forward(worker, p.shared(), flow, x, y, saved);
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 StreamIn<P, Sublayers::input_width> x,
                                 const typename Sublayers::template Saved<P>& saved,
                                 Rows<const typename P::Stream, Sublayers::output_width> dy,
                                 Rows<typename P::Stream, Sublayers::input_width> dx, Skip<P> skip) {
    Sublayers::backward(worker, p.shared(), dp.shared(), flow, x, saved, dy, dx, skip);
  }
};

/// Sublayers of which the last one adds the input of the layer, see `Flow::layer_input`.
///
/// Gradients  that sublayer's backward leaves the gradient of the layer's input, and the first one's adds it as a skip.
template <class... Residuals>
struct LayerInputBlock : Sequence<Residuals...> {
  using Sublayers = Sequence<Residuals...>;
  static constexpr int width = Sublayers::input_width;

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const typename Sublayers::template Params<const typename P::Weight>& p,
                                Flow<P> flow, StreamIn<P, width> x, StreamOut<P, width> y,
                                typename Sublayers::template Saved<P>& saved) {
    flow.layer_input = as_stream(x);
    Sublayers::forward(worker, p, flow, x, y, saved);
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const typename Sublayers::template Params<const typename P::Weight>& p,
                                 const typename Sublayers::template Params<typename P::Gradient>& dp, Flow<P> flow,
                                 StreamIn<P, width> x, const typename Sublayers::template Saved<P>& saved,
                                 Rows<const typename P::Stream, width> dy, Rows<typename P::Stream, width> dx,
                                 Skip<P> skip) {
    const auto d = worker.template rows<typename P::Stream, width>(x.count);
    flow.layer_input = as_stream(x);
    flow.layer_input_gradient = d;
    Sublayers::backward(worker, p, dp, flow, x, saved, dy, dx, {d, 1});
    if (skip.value)
      worker(op::ResidualAdd<P>{.x = skip.value, .f = dx, .a = {skip.scale, {}}, .b = {}, .dropout = {}, .y = dx});
  }
};

/// The template argument is the message.
template <class Policy>
struct CheckSharedScalar {
  static constexpr bool shares = [] {
    if constexpr (StatesResidualFacts<Policy>)
      return Policy::learned == LearnedScale::layer_scalar && (Policy::post_norm || Policy::adds_layer_input);
    else
      return false;
  }();
  static_assert(
      !shares,
      "ResidualBlock: a policy whose sublayers share one learned scalar has neither a norm behind the sum nor the "
      "layer's input on top: give each sublayer a scalar of its own, LearnedScale::branch_scalar");
  static constexpr bool value = true;
};

template <class Policy, class NormLayer, class Places, class... Sublayers>
struct ResidualBlockOf;
template <class Policy, class NormLayer, std::size_t... Index, class... Sublayers>
struct ResidualBlockOf<Policy, NormLayer, std::index_sequence<Index...>, Sublayers...> {
  static_assert(CheckPolicy<Policy>::value);
  static_assert(CheckSharedScalar<Policy>::value);
  static constexpr SublayerPlace place(std::size_t index) {
    return !joins_sublayers<Policy>            ? SublayerPlace::alone
           : index + 1 == sizeof...(Sublayers) ? SublayerPlace::last
                                               : SublayerPlace::inner;
  }
  static constexpr auto choose() {
    if constexpr (!StatesResidualFacts<Policy>)
      return std::type_identity<Sequence<Sublayers...>>{};  // what is wrong has been said
    else if constexpr (Policy::learned == LearnedScale::layer_scalar)
      return std::type_identity<SharedScaleBlock<Policy, Residual<Policy, Sublayers, NormLayer, place(Index)>...>>{};
    else if constexpr (Policy::adds_layer_input)
      return std::type_identity<LayerInputBlock<Residual<Policy, Sublayers, NormLayer, place(Index)>...>>{};
    else
      return std::type_identity<Sequence<Residual<Policy, Sublayers, NormLayer, place(Index)>...>>{};
  }
  using type = typename decltype(choose())::type;
};

/// One layer of a stack, by any policy: its sublayers, each in a `Residual`, and what the policy joins of them. For
/// most policies it is a `Sequence` of these and nothing else.
///
///   Repeat<depth, ResidualBlock<ReZeroPerLayer, LayerNorm<64>, Attention<64, 4>, FeedForward<64, 256>>>
template <class Policy, class NormLayer, class... Sublayers>
using ResidualBlock =
    typename ResidualBlockOf<Policy, NormLayer, std::index_sequence_for<Sublayers...>, Sublayers...>::type;

/// Sublayers with the options that a policy asks of them, and others behind these.
template <class Asked>
struct SublayersWith;
template <class... Asked>
struct SublayersWith<LayerOptions<Asked...>> {
  template <int Width, int Heads, class Mask, class... Options>
  using SelfAttention = Attention<Width, Heads, Mask, Asked..., Options...>;
  template <int Width, int Heads, int MemoryWidth, class... Options>
  using MemoryAttention = CrossAttention<Width, Heads, MemoryWidth, Asked..., Options...>;
  template <int Width, int Hidden, class Act, class... Options>
  using Wide = FeedForward<Width, Hidden, Act, Asked..., Options...>;
};
/// A policy whose facts are checked: what is none gets the message.
template <class Policy>
struct CheckedPolicy : Policy {
  static_assert(CheckPolicy<Policy>::value);
};
template <class Policy, int Width, int Heads, class Mask = Causal, class... Options>
using AttentionFor =
    typename SublayersWith<typename CheckedPolicy<Policy>::AttentionOptions>::template SelfAttention<Width, Heads, Mask,
                                                                                                     Options...>;
template <class Policy, int Width, int Heads, int MemoryWidth = Width, class... Options>
using CrossAttentionFor =
    typename SublayersWith<typename CheckedPolicy<Policy>::CrossAttentionOptions>::template MemoryAttention<
        Width, Heads, MemoryWidth, Options...>;
template <class Policy, int Width, int Hidden, class Act = Gelu, class... Options>
using FeedForwardFor =
    typename SublayersWith<typename CheckedPolicy<Policy>::FeedForwardOptions>::template Wide<Width, Hidden, Act,
                                                                                              Options...>;

}  // namespace fathom::inline FATHOM_ABI
