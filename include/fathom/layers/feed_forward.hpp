// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/layers/inner.hpp>
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
/// Options    NoBias; what W_output reads in place of act(h): InnerNorm, a norm of it; ScalarShifts, act(h + s) + s'.
/// Gradients  two linear layers around op::ActivationBackward; act(h) is computed again instead of being saved.
/// Saves      h; with Relu act(h) in its place, whose values tell the slopes, so nothing is computed again.
template <int Width, int Hidden, class Act = Gelu, class... Options>
struct FeedForward {
  static_assert(CheckActivation<Act>::value);
  static_assert(Width > 0 && Hidden > 0, "FeedForward: both widths must be positive");
  static_assert((option_is_one_of<Options, BiasTag, InnerTag> && ...),
                "FeedForward: an option that it does not know; it takes NoBias, InnerNorm, ScalarShifts");
  using InnerOption = Option<NoInner, Options...>;
  static_assert(!std::is_same_v<InnerOption, HeadScales>,
                "FeedForward: it has no heads to scale; leave HeadScales to Attention");
  static constexpr const char* name = "feed_forward";
  static constexpr int input_width = Width, output_width = Width;
  static constexpr Sees sees = Sees::itself;
  static constexpr bool biased = Option<WithBias, Options...>::value;
  static constexpr int fused_width = Act::gated ? 2 * Hidden : Hidden;
  using Inner = typename InnerOption::template Of<Hidden, 1>;
  static constexpr bool shifts = std::is_same_v<InnerOption, ScalarShifts>;
  static constexpr bool in_place = Act::kind == ActivationKind::relu && !Act::gated;  // act(h) lies where h was
  template <class OptionType>
  static constexpr bool has = (std::is_same_v<OptionType, Options> || ...);

  static constexpr void describe(auto&& fact) {
    fact("hidden", Hidden);
    fact("activation", name_of(Act::kind));
    fact("gated", Act::gated);
    if constexpr (Inner::present) fact("inner", InnerOption::name);
  }

  template <class T>
  struct Params {
    WeightMatrix<T, fused_width, Width> input_weight;  // gated: (gate rows, input rows)
    OptionalVector<T, fused_width, biased> input_bias;
    LinearParams<T, Hidden, Width, biased, Role::feed_forward_output> output;
    typename Inner::template Params<T> inner;

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
      inner.each(visitor);
    }
  };

  template <class P>
  struct Saved {
    Rows<typename P::Activation, fused_width> h;  // with its shift, or act of that
    typename Inner::template Saved<P> inner;

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      return {arena.rows<typename P::Activation, fused_width>(capacity.rows),
              Inner::template Saved<P>::take(arena, capacity)};
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                Rows<const typename P::Activation, Width> x, Rows<typename P::Activation, Width> y,
                                Saved<P>& saved) {
    const auto h = resized(saved.h, x.count);
    const auto a = activated(worker, h);
    worker(op::LinearForward<P>{.x = x, .weight = p.input_weight, .bias = p.input_bias, .y = h});
    if constexpr (shifts) worker(op::Shift<P>{.x = h, .shift = p.inner.input, .y = h});
    worker(activation<P>(worker, h, a));
    const auto read = inner_output<P>(worker, p, flow, a, saved.inner);
    worker(op::LinearForward<P>{.x = read, .weight = p.output.weight, .bias = p.output.bias, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 Rows<const typename P::Activation, Width> x, const Saved<P>& saved,
                                 Rows<const typename P::Activation, Width> dy, Rows<typename P::Stream, Width> dx,
                                 Skip<P> skip) {
    const auto h = resized(saved.h, x.count);
    const auto a = activated(worker, h);
    const auto da = worker.template rows<typename P::Activation, Hidden>(x.count);
    const auto dh = [&] {
      if constexpr (Act::gated)
        return worker.template rows<typename P::Activation, fused_width>(x.count);
      else
        return da;
    }();
    Rows<const typename P::Activation, Hidden> read = a;
    auto again =
        in_place ? Rows<typename P::Activation, Hidden>{} : a;  // where the activation's backward writes a once more
    if constexpr (Inner::present) {
      const auto d_read = worker.template rows<typename P::Activation, Hidden>(x.count);
      auto statistics = saved.inner;  // written again, as they are
      if constexpr (!in_place) worker(activation<P>(worker, h, a));
      read = inner_output<P>(worker, p, flow, a, statistics);
      worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.output.weight, .skip = {}, .dx = d_read});
      Inner::backward(worker, p.inner, dp.inner, flow, a, saved.inner, d_read, da);
      if constexpr (!in_place) again = worker.template rows<typename P::Activation, Hidden>(x.count);
    } else {
      worker(op::LinearBackwardInput<P>{.dy = dy, .weight = p.output.weight, .skip = {}, .dx = da});
    }
    worker(op::ActivationBackward<P>{.kind = Act::kind,
                                     .gated = Act::gated,
                                     .dropout = worker.dropout("activation", worker.dropout_rates().activation),
                                     .x = h,
                                     .dy = da,
                                     .dx = dh,
                                     .y = again});
    if constexpr (shifts) worker(op::ShiftBackward<P>{.dy = dh, .dshift = dp.inner.input});
    worker(op::LinearBackwardWeight<P>{.x = read, .dy = dy, .dweight = dp.output.weight, .dbias = dp.output.bias});
    worker(op::LinearBackwardInput<P>{.dy = dh, .weight = p.input_weight, .skip = skip, .dx = dx});
    worker(op::LinearBackwardWeight<P>{.x = x, .dy = dh, .dweight = dp.input_weight, .dbias = dp.input_bias});
  }

 private:
  /// Where a is, or is to be.
  template <class T>
  static constexpr Rows<T, Hidden> activated(auto& worker, Rows<T, fused_width> h) {
    if constexpr (in_place)
      return h;
    else
      return worker.template rows<T, Hidden>(h.count);
  }
  /// What the output matrix reads in place of a.
  template <class P>
  static constexpr Rows<const typename P::Activation, Hidden> inner_output(auto& worker,
                                                                           const Params<const typename P::Weight>& p,
                                                                           const Flow<P>& flow,
                                                                           Rows<const typename P::Activation, Hidden> a,
                                                                           typename Inner::template Saved<P>& saved) {
    if constexpr (Inner::present) {
      const auto read = worker.template rows<typename P::Activation, Hidden>(a.count);
      Inner::forward(worker, p.inner, flow, a, read, saved);
      return read;
    } else {
      return a;
    }
  }
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
