// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/layers/norm.hpp>
#include <fathom/layers/policies.hpp>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

/// The width of what a sublayer gives; 1 for what is no layer, which `CheckLayer` names.
template <class Sublayer>
constexpr int branch_width() {
  if constexpr (HasShapes<Sublayer>)
    return Sublayer::output_width;
  else
    return 1;
}

/// A sublayer G inside the residual stream, by the rule of a policy:
///
///   z = a ⊙ x + b ⊙ dropout(G(pre(x)));   y = norm(z) or z.
///
/// Shapes     x, z, y (N, Width).
/// Gradients  dz = normᵀ dy or dy;  dG = b ⊙ dropout'(dz);  dx = a ⊙ dz + preᵀ J_Gᵀ dG; the learned scale: Σ dz ⊙ x for
///            a skip vector, Σ dz ⊙ G for a branch scalar.
/// Saves      what G saves; with a post-norm z, with a learned branch scale G(x). Outputs of norms are computed again.
template <class Policy, class Sublayer, class NormLayer = LayerNorm<branch_width<Sublayer>()>>
struct Residual : Composition<Sublayer, NormLayer> {
  static_assert(CheckPolicy<Policy>::value);
  static_assert(CheckChain<0, Sublayer::output_width, Sublayer::input_width>::value);
  static_assert(CheckChain<0, Sublayer::output_width, NormLayer::input_width>::value);
  static constexpr const char* name = Sublayer::name;
  static constexpr int width = Sublayer::output_width, input_width = width, output_width = width;
  using ResidualPolicy = Policy;
  using FinalNorm = std::conditional_t<Policy::final_norm, NormLayer, void>;

  static constexpr bool keeps_branch = Policy::learned == LearnedScale::branch_scalar;
  static constexpr bool scales_skip = Policy::learned == LearnedScale::skip_vector;
  static constexpr int scale_size = scales_skip ? width : 1;
  static constexpr bool restores_output = Policy::post_norm;

  template <class T>
  struct Params {
    typename Sublayer::template Params<T> sublayer;
    typename NormLayer::template Params<T> pre_norm, post_norm;
    Vector<T, scale_size> scale;

    constexpr void each(auto& visitor) {
      visitor.scaled(&Policy::gain, sublayer);
      if constexpr (Policy::pre_norm) visitor.nested(Policy::post_norm ? "pre_norm" : "norm", pre_norm);
      if constexpr (Policy::post_norm) visitor.nested("norm", post_norm);
      if constexpr (Policy::learned != LearnedScale::none)
        visitor.tensor("scale", scale, scales_skip ? Role::skip_scale : Role::branch_scale,
                       init::constant(Policy::learned_init));
    }
  };

  template <class P>
  struct Saved {
    typename Sublayer::template Saved<P> sublayer;
    typename NormLayer::template Saved<P> pre, post;
    Rows<typename P::Activation, width> f;  // G(pre(x)), for a learned branch scale
    Rows<typename P::Stream, width> z;      // for a post-norm

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      Saved saved{};
      saved.sublayer = Sublayer::template Saved<P>::take(arena, capacity);
      if constexpr (Policy::pre_norm) saved.pre = NormLayer::template Saved<P>::take(arena, capacity);
      if constexpr (keeps_branch) saved.f = arena.rows<typename P::Activation, width>(capacity.rows);
      if constexpr (Policy::post_norm) {
        saved.post = NormLayer::template Saved<P>::take(arena, capacity);
        saved.z = arena.rows<typename P::Stream, width>(capacity.rows);
      }
      return saved;
    }
  };

  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                StreamIn<P, width> x, StreamOut<P, width> y, Saved<P>& saved) {
    const auto f = branch(worker, saved, y);
    if constexpr (Policy::pre_norm) {
      const auto h = worker.template rows<typename P::Activation, width>(x.count);
      NormLayer::forward(worker, p.pre_norm, flow, as_stream(x), only_branch<P>(h), saved.pre);
      Sublayer::forward(worker, p.sublayer, flow, h, f, saved.sublayer);
    } else {
      Sublayer::forward(worker, p.sublayer, flow, as_branch(x), f, saved.sublayer);
    }
    const auto dropout = worker.dropout("residual", worker.dropout_rates().residual);
    ResidualScale<P> a = skip_scale<P>(p, flow);
    if constexpr (Policy::profiled)
      if (flow.profile != nullptr)
        a = {.constant = measure<P>(worker, *flow.profile, x, f, branch_scale<P>(p, flow), dropout, y), .learned = {}};
    if constexpr (Policy::post_norm)
      worker(op::ResidualAddNorm<P>{.x = as_stream(x),
                             .f = f,
                             .a = a,
                             .b = branch_scale<P>(p, flow),
                             .dropout = dropout,
                             .kind = NormLayer::kind,
                             .epsilon = NormLayer::epsilon,
                             .gain = p.post_norm.gain,
                             .bias = p.post_norm.bias,
                             .z = resized(saved.z, x.count),
                             .mean = saved.post.mean,
                             .rstd = saved.post.rstd,
                             .y = y});
    else
      worker(op::ResidualAdd<P>{
          .x = as_stream(x), .f = f, .a = a, .b = branch_scale<P>(p, flow), .dropout = dropout, .y = y});
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void restore(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow,
                                const Saved<P>& saved, StreamOut<P, width> y) requires restores_output {
    auto statistics = saved.post;  // written again, as they are
    NormLayer::forward(worker, p.post_norm, flow, resized(saved.z, y.count), y, statistics);
  }

  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow,
                                 StreamIn<P, width> x, const Saved<P>& saved,
                                 Rows<const typename P::Stream, width> dy, Rows<typename P::Stream, width> dx,
                                 Skip<P> skip) {
    Rows<const typename P::Stream, width> dz = dy;
    if constexpr (Policy::post_norm) {
      const auto rows = worker.template rows<typename P::Stream, width>(x.count);
      NormLayer::backward(worker, p.post_norm, dp.post_norm, flow, resized(saved.z, x.count), saved.post, dy, rows, {});
      dz = rows;
    }
    const auto dropout = worker.dropout("residual", worker.dropout_rates().residual);
    const auto b = branch_scale<P>(p, flow);
    Rows<const typename P::Activation, width> df;
    if constexpr (branches_read_stream<P>) df = dz;
    Skip<P> through{dz, Policy::skip(flow.block)};
    if (!branches_read_stream<P> || Policy::learned != LearnedScale::none || dropout.active() || b.constant != 1) {
      const auto branch = worker.template rows<typename P::Activation, width>(x.count);
      Rows<typename P::Stream, width> scaled_skip;
      if constexpr (scales_skip) {
        scaled_skip = worker.template rows<typename P::Stream, width>(x.count);
        through = {scaled_skip, 1};
      }
      op::ResidualAddBackward<P> add{.x = {},
                               .f = {},
                               .a = skip_scale<P>(p, flow),
                               .b = b,
                               .dropout = dropout,
                               .dy = dz,
                               .dx = {},
                               .df = branch,
                               .da = {},
                               .db = {}};
      if constexpr (scales_skip) add.x = as_stream(x), add.dx = scaled_skip, add.da = dp.scale;
      if constexpr (keeps_branch) add.f = resized(saved.f, x.count), add.db = dp.scale;
      worker(add);
      df = branch;
    }
    if (skip.value) through = combined(worker, through, skip, x.count);
    if constexpr (Policy::pre_norm) {
      const auto h = worker.template rows<typename P::Activation, width>(x.count);
      const auto dh = worker.template rows<typename P::Stream, width>(x.count);
      auto statistics = saved.pre;  // written again, as they are
      NormLayer::forward(worker, p.pre_norm, flow, as_stream(x), only_branch<P>(h), statistics);
      Sublayer::backward(worker, p.sublayer, dp.sublayer, flow, h, saved.sublayer, df, dh, {});
      NormLayer::backward(worker, p.pre_norm, dp.pre_norm, flow, as_stream(x), saved.pre, dh, dx, through);
    } else {
      Sublayer::backward(worker, p.sublayer, dp.sublayer, flow, as_branch(x), saved.sublayer, df, dx, through);
    }
  }

 private:
  /// Where the branch is written: where the residual add wants to read it, so that it has no buffer of its own unless its
  /// values are needed again, or its type is not the stream's.
  template <class P>
  static constexpr Rows<typename P::Activation, width> branch(auto& worker, const Saved<P>& saved,
                                                              StreamOut<P, width> y) {
    if constexpr (keeps_branch)
      return resized(saved.f, y.count);
    else if constexpr (!branches_read_stream<P>)
      return worker.template rows<typename P::Activation, width>(y.count);
    else if constexpr (Policy::post_norm)
      return resized(saved.z, y.count);
    else
      return y;
  }

  template <class P>
  static constexpr ResidualScale<P> skip_scale(const Params<const typename P::Weight>& p, const Flow<P>& flow) {
    ResidualScale<P> scale{Policy::skip(flow.block), {}};
    if constexpr (scales_skip) scale.learned = p.scale;
    return scale;
  }
  template <class P>
  static constexpr ResidualScale<P> branch_scale(const Params<const typename P::Weight>& p, const Flow<P>& flow) {
    ResidualScale<P> scale{Policy::branch(flow.block), {}};
    if constexpr (keeps_branch) scale.learned = p.scale;
    return scale;
  }

  /// Admin's profiling pass: the skip scale of this sublayer, which is noted; and, from the variances of what is added
  /// here, that of the next one. `y` is overwritten: it holds the branch as it is added, after dropout.
  template <class P>
  static constexpr double measure(auto& worker, AdminProfile& profile, StreamIn<P, width> x,
                                  Rows<typename P::Activation, width> f, const ResidualScale<P>& b,
                                  const Dropout& dropout, StreamOut<P, width> y) {
    static_assert(Policy::post_norm, "Residual: a policy that is profiled has a post-norm");
    const auto variance = [&](Rows<const typename P::Activation, width> rows) {
      worker(op::Variance<P>{.x = rows, .result = worker.slot(&Slots::variance)});
      return worker.read(&Slots::variance);
    };
    const double scale = profile.scale, input = Policy::unit_input ? 1 : variance(as_branch(x));
    worker(op::ResidualAdd<P>{.x = {}, .f = f, .a = {}, .b = b, .dropout = dropout, .y = y});
    profile.scales[profile.count++] = scale;
    profile.scale = square_root(scale * scale * input + variance(as_branch(y)));
    return scale;
  }

  /// The sum of two skips, for a sublayer that stands inside another sublayer's branch.
  template <class W, class P = PrecisionOf<W>>
  static constexpr Skip<P> combined(W& worker, Skip<P> inner, Skip<P> outer, int count) {
    const auto sum = worker.template rows<typename P::Stream, width>(count);
    worker(op::ResidualAdd<P>{
        .x = inner.value, .f = outer.value, .a = {inner.scale, {}}, .b = {outer.scale, {}}, .dropout = {}, .y = sum});
    return {sum, 1};
  }
};

}  // namespace fathom::inline FATHOM_ABI
