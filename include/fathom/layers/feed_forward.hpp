// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/linear.hpp>

namespace fathom::inline FATHOM_ABI {

/// Activations of a feed-forward layer. Sources: Hendrycks and Gimpel 2016, arXiv:1606.08415; Shazeer 2020,
/// arXiv:2002.05202.
template <ActivationKind Kind, bool Gated>
struct ActivationPolicy {
  static constexpr ActivationKind kind = Kind;
  static constexpr bool gated = Gated;
};
struct Relu : ActivationPolicy<ActivationKind::relu, false> {};
struct Gelu : ActivationPolicy<ActivationKind::gelu, false> {};           ///< exact, by erf
struct GeluTanh : ActivationPolicy<ActivationKind::gelu_tanh, false> {};  ///< the tanh approximation
struct Silu : ActivationPolicy<ActivationKind::silu, false> {};
struct SwiGlu : ActivationPolicy<ActivationKind::silu, true> {};
struct GeGlu : ActivationPolicy<ActivationKind::gelu, true> {};
struct ReGlu : ActivationPolicy<ActivationKind::relu, true> {};

template <class Act>
concept NamesActivation = requires {
  { Act::kind } -> std::convertible_to<ActivationKind>;
  { Act::gated } -> std::convertible_to<bool>;
};
/// `Act` says which activation a layer has; the template argument is the message.
template <class Act>
struct CheckActivation {
  static_assert(NamesActivation<Act>,
                "FeedForward: its third argument is the activation: say Gelu, Relu, SwiGlu or another one of "
                "feed_forward.hpp there, NoBias behind it");
  static constexpr bool value = true;
};

/// y = act(x W_inputᵀ + b) W_outputᵀ + b, or gated y = (act(x W_gateᵀ + b) ⊙ (x W_inputᵀ + b)) W_outputᵀ + b.
///
/// Shapes     x, y (N, Width); h (N, Hidden), gated (N, 2 · Hidden): gate, then input, by one product.
/// Options    NoBias.
/// Gradients  two linear layers around op::ActivationBackward; act(h) is computed again instead of being saved.
/// Saves      h.
template <int Width, int Hidden, class Act = Gelu, class... Options>
struct FeedForward {
  static_assert(CheckActivation<Act>::value);
  static_assert(Width > 0 && Hidden > 0, "FeedForward: both widths must be positive");
  static_assert((option_is_one_of<Options, BiasTag> && ...),
                "FeedForward: an option that it does not know; it takes NoBias");
  static constexpr const char* name = "feed_forward";
  static constexpr int input_width = Width, output_width = Width;
  static constexpr Sees sees = Sees::itself;
  static constexpr bool biased = Option<WithBias, Options...>::value;
  static constexpr int fused_width = Act::gated ? 2 * Hidden : Hidden;

  static constexpr void describe(auto&& fact) {
    fact("hidden", Hidden);
    fact("activation", name_of(Act::kind));
    fact("gated", Act::gated);
  }

  template <class T>
  struct Params {
    WeightMatrix<T, fused_width, Width> input_weight;  // gated: (gate rows, input rows)
    OptionalVector<T, fused_width, biased> input_bias;
    LinearParams<T, Hidden, Width, biased, Role::feed_forward_output> output;

    constexpr void each(auto& visitor) {
      if constexpr (Act::gated) {
        visitor.fused(input_weight, {Part{"gate.weight", Hidden, Role::feed_forward_gate, init::xavier},
                                     Part{"input.weight", Hidden, Role::feed_forward_input, init::xavier}});
        if constexpr (biased)
          visitor.fused(input_bias, {Part{"gate.bias", Hidden, Role::bias, init::zeros},
                                     Part{"input.bias", Hidden, Role::bias, init::zeros}});
      } else {
        visitor.tensor("input.weight", input_weight, Role::feed_forward_input, init::xavier);
        if constexpr (biased) visitor.tensor("input.bias", input_bias, Role::bias, init::zeros);
      }
      visitor.nested("output", output);
    }
  };

  template <class P>
  struct Saved {
    Rows<typename P::Activation, fused_width> h;

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      return {arena.rows<typename P::Activation, fused_width>(capacity.rows)};
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>&,
                                Rows<const typename P::Activation, Width> x, Rows<typename P::Activation, Width> y,
                                Saved<P>& saved) {
    const auto h = resized(saved.h, x.count);
    const auto a = worker.template rows<typename P::Activation, Hidden>(x.count);
    worker(op::Linear<P>{.x = x, .weight = p.input_weight, .bias = p.input_bias, .y = h});
    worker(activation<P>(worker, h, a));
    worker(op::Linear<P>{.x = a, .weight = p.output.weight, .bias = p.output.bias, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>&,
                                 Rows<const typename P::Activation, Width> x, const Saved<P>& saved,
                                 Rows<const typename P::Activation, Width> dy, Rows<typename P::Stream, Width> dx,
                                 Skip<P> skip) {
    const auto h = resized(saved.h, x.count);
    const auto a = worker.template rows<typename P::Activation, Hidden>(x.count);
    const auto da = worker.template rows<typename P::Activation, Hidden>(x.count);
    const auto dh = [&] {
      if constexpr (Act::gated)
        return worker.template rows<typename P::Activation, fused_width>(x.count);
      else
        return da;
    }();
    worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.output.weight, .skip = {}, .dx = da});
    worker(op::ActivationBackward<P>{.kind = Act::kind,
                                     .gated = Act::gated,
                                     .dropout = worker.dropout("activation", worker.dropout_rates().activation),
                                     .x = h,
                                     .dy = da,
                                     .dx = dh,
                                     .y = a});
    worker(op::LinearBackwardWeight<P>{.x = a, .dy = dy, .dweight = dp.output.weight, .dbias = dp.output.bias});
    worker(op::LinearBackwardInput<P>{.dy = dh, .weight = p.input_weight, .skip = skip, .dx = dx});
    worker(op::LinearBackwardWeight<P>{.x = x, .dy = dh, .dweight = dp.input_weight, .dbias = dp.input_bias});
  }

 private:
  template <class P>
  static constexpr op::Activation<P> activation(auto& worker, Rows<const typename P::Activation, fused_width> h,
                                                Rows<typename P::Activation, Hidden> a) {
    return {.kind = Act::kind,
            .gated = Act::gated,
            .dropout = worker.dropout("activation", worker.dropout_rates().activation),
            .x = h,
            .y = a};
  }
};

}  // namespace fathom::inline FATHOM_ABI
