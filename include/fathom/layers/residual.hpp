// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/layers/branch_norm.hpp>
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

/// Where a sublayer stands: by itself, or in a `ResidualBlock`, and whether it is the last one there.
enum class SublayerPlace { alone, inner, last };

/// A sublayer that stands by itself needs nothing of others; the template arguments are the message.
template <class Policy, SublayerPlace Place>
struct CheckPlace {
  static_assert(Place != SublayerPlace::alone || !joins_sublayers<Policy>,
                "Residual: this policy joins the sublayers of a layer: say ResidualBlock<Policy, NormLayer, "
                "Sublayers...> in place of Sequence<Residual<Policy, Sublayer>...>");
  static constexpr bool value = true;
};

/// A learned scale.
template <class T, int Size, Role ScaleRole>
struct ScaleParams {
  Vector<T, Size> values;
  constexpr void each(auto& visitor) { visitor.tensor("scale", values, ScaleRole, init::ones); }
};

/// A sublayer G inside the residual stream, by the rule of a policy, whose facts may be others for each kind of
/// sublayer:
///
///   h = pre(x), or x + shift, or x;   s = x, or pre(x) for a normed skip, or x + the layer's input for a policy that
///   adds that;   f = G(h), or branch_norm(G(h));   z = a ⊙ s + b ⊙ dropout(f);   y = norm(z) or z.
///
/// Shapes     x, z, y (N, Width).
/// Gradients  dz = normᵀ dy or dy;  df = b ⊙ dropout'(dz);  dG = branch_normᵀ df or df;  dh = J_Gᵀ dG;  ds = a ⊙ dz;
///            dx = ds + preᵀ dh, or preᵀ (ds + dh) for a normed skip; ds is the gradient of the layer's input too. The
///            learned scale: Σ dz ⊙ x for a skip vector, Σ dz ⊙ f for a scale of the branch; the shift: Σ dh.
/// Saves      what G saves; with a post-norm z, with a branch norm G(h), with a learned branch scale f. h is computed
///            again.
template <class Policy, class Sublayer, class NormLayer = LayerNorm<branch_width<Sublayer>()>,
          SublayerPlace Place = SublayerPlace::alone>
struct Residual : Composition<Sublayer, NormLayer> {
  static_assert(CheckPolicy<Policy>::value);
  static_assert(CheckChain<0, Sublayer::output_width, Sublayer::input_width>::value);
  static_assert(CheckChain<0, Sublayer::output_width, NormLayer::input_width>::value);
  static_assert(CheckPlace<Policy, Place>::value);
  static_assert(CheckOptions<Policy, Sublayer>::value);
  static constexpr const char* name = Sublayer::name;
  static constexpr int width = Sublayer::output_width, input_width = width, output_width = width;
  using ResidualPolicy = Policy;
  using Facts = PolicyOn<Policy, Sublayer>;
  using FinalNorm = FinalLayerOf<Policy, NormLayer>;

  static constexpr bool scales_skip = Facts::learned == LearnedScale::skip_vector;
  static constexpr bool keeps_branch = Facts::learned != LearnedScale::none && !scales_skip;
  static constexpr bool shares_scale = Facts::learned == LearnedScale::layer_scalar;
  static constexpr bool adds_layer_input = Facts::adds_layer_input && Place == SublayerPlace::last;
  static constexpr int scale_size = scales_skip || Facts::learned == LearnedScale::branch_vector ? width : 1;
  static constexpr bool restores_output = Facts::post_norm;
  static_assert(!Facts::normed_skip || (Facts::pre_norm && !scales_skip && !adds_layer_input),
                "Residual: a normed skip is that of a pre-norm, without a learned vector or the layer's input");
  static_assert(!adds_layer_input || !scales_skip, "Residual: a layer's input on top has no learned skip vector");
  static_assert(!Facts::shifts_input || !Facts::pre_norm, "Residual: what a branch reads is either normed or shifted");

  template <class T>
  struct Params {
    typename Sublayer::template Params<T> sublayer;
    typename NormLayer::template Params<T> pre_norm, branch_norm, post_norm;
    ScaleParams<T, scale_size, scales_skip ? Role::skip_scale : Role::branch_scale> scale;  // a shared one: the block's
    Vector<T, 1> shift;

    constexpr void each(auto& visitor) {
      visitor.scaled(&Facts::gain, sublayer);
      if constexpr (Facts::pre_norm) visitor.nested(Facts::post_norm ? "pre_norm" : "norm", pre_norm);
      if constexpr (Facts::branch_norm) visitor.nested("branch_norm", branch_norm);
      if constexpr (Facts::post_norm) visitor.nested("norm", post_norm);
      if constexpr (Facts::learned != LearnedScale::none && !shares_scale) visitor.scaled(&Facts::gain, scale);
      if constexpr (Facts::shifts_input) visitor.tensor("shift", shift, Role::shift, init::zeros);
    }
  };

  template <class P>
  struct Saved {
    typename Sublayer::template Saved<P> sublayer;
    typename NormLayer::template Saved<P> pre, branch, post;
    Rows<typename P::Activation, width> g;  // G(pre(x)), for a branch norm
    Rows<typename P::Activation, width> f;  // for a learned branch scale
    Rows<typename P::Stream, width> z;      // for a post-norm

    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      Saved saved{};
      saved.sublayer = Sublayer::template Saved<P>::take(arena, capacity);
      if constexpr (Facts::pre_norm) saved.pre = NormLayer::template Saved<P>::take(arena, capacity);
      if constexpr (Facts::branch_norm) {
        saved.branch = NormLayer::template Saved<P>::take(arena, capacity);
        saved.g = arena.rows<typename P::Activation, width>(capacity.rows);
      }
      if constexpr (keeps_branch) saved.f = arena.rows<typename P::Activation, width>(capacity.rows);
      if constexpr (Facts::post_norm) {
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
    Rows<typename P::Activation, width> g = f;
    if constexpr (Facts::branch_norm) g = resized(saved.g, x.count);
    Rows<const typename P::Stream, width> s = as_stream(x);
    if constexpr (Facts::pre_norm) {
      const auto h = pre_norm_output<P>(worker, x.count);
      NormLayer::forward(worker, p.pre_norm, flow, as_stream(x), h, saved.pre);
      if constexpr (Facts::normed_skip) s = as_stream(h);
      Sublayer::forward(worker, p.sublayer, flow, as_branch(h), g, saved.sublayer);
    } else {
      Sublayer::forward(worker, p.sublayer, flow, shifted<P>(worker, p, as_branch(x)), g, saved.sublayer);
    }
    if constexpr (Facts::branch_norm) BranchNorm<NormLayer>::forward(worker, p.branch_norm, flow, g, f, saved.branch);
    if constexpr (adds_layer_input) s = with_layer_input<P>(worker, s, flow);
    const auto dropout = worker.dropout("residual", worker.dropout_rates().residual);
    ResidualScale<P> a = skip_scale<P>(p, flow);
    if constexpr (Facts::profiled)
      if (flow.profile != nullptr)
        a = {.constant = measure<P>(worker, *flow.profile, x, f, branch_scale<P>(p, flow), dropout, y), .learned = {}};
    if constexpr (Facts::post_norm)
      worker(op::ResidualAddNorm<P>{.x = s,
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
      worker(op::ResidualAdd<P>{.x = s, .f = f, .a = a, .b = branch_scale<P>(p, flow), .dropout = dropout, .y = y});
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
    const auto dropout = worker.dropout("residual", worker.dropout_rates().residual);
    const auto b = branch_scale<P>(p, flow);
    constexpr bool joined = Facts::post_norm && Facts::learned == LearnedScale::none;  // df leaves with dz
    const bool separate = !branches_read_stream<P> || Facts::learned != LearnedScale::none || dropout.active() ||
                          b.constant != 1;  // df is not dz
    Rows<typename P::Activation, width> branch;
    Rows<const typename P::Stream, width> dz = dy;
    if constexpr (Facts::post_norm) {
      const auto rows = worker.template rows<typename P::Stream, width>(x.count);
      if (joined && separate) branch = worker.template rows<typename P::Activation, width>(x.count);
      if constexpr (joined)
        worker(op::ResidualAddNormBackward<P>{.b = b.constant,
                                              .dropout = dropout,
                                              .kind = NormLayer::kind,
                                              .z = resized(saved.z, x.count),
                                              .mean = saved.post.mean,
                                              .rstd = saved.post.rstd,
                                              .gain = p.post_norm.gain,
                                              .dy = dy,
                                              .dz = rows,
                                              .df = branch,
                                              .dgain = dp.post_norm.gain,
                                              .dbias = dp.post_norm.bias});
      else
        NormLayer::backward(worker, p.post_norm, dp.post_norm, flow, resized(saved.z, x.count), saved.post, dy, rows,
                            {});
      dz = rows;
    }
    Rows<const typename P::Activation, width> df = branch;
    if constexpr (branches_read_stream<P>)
      if (!separate) df = dz;
    Skip<P> through{dz, Facts::skip(flow.block)};
    if constexpr (adds_layer_input)
      worker(op::ResidualAdd<P>{
          .x = {}, .f = dz, .a = {}, .b = {through.scale, {}}, .dropout = {}, .y = flow.layer_input_gradient});
    if (separate && !joined) {
      branch = worker.template rows<typename P::Activation, width>(x.count);
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
      if constexpr (scales_skip) add.x = as_stream(x), add.dx = scaled_skip, add.da = dp.scale.values;
      if constexpr (keeps_branch) add.f = resized(saved.f, x.count), add.db = dp.scale.values;
      if constexpr (shares_scale) {
        const auto alone = worker.frame();  // another sublayer of this block adds to the same gradient
        worker(add);
      } else {
        worker(add);
      }
      df = branch;
    }
    Rows<const typename P::Activation, width> dg = df;
    if constexpr (Facts::branch_norm) {
      const auto rows = worker.template rows<typename P::Activation, width>(x.count);
      BranchNorm<NormLayer>::backward(worker, p.branch_norm, dp.branch_norm, flow, resized(saved.g, x.count),
                                      saved.branch, df, rows);
      dg = rows;
    }
    if constexpr (Facts::pre_norm) {
      const auto h = worker.template rows<typename P::Activation, width>(x.count);
      const auto dh = worker.template rows<typename P::Stream, width>(x.count);
      auto statistics = saved.pre;  // written again, as they are
      NormLayer::forward(worker, p.pre_norm, flow, as_stream(x), only_branch<P>(h), statistics);
      if constexpr (Facts::normed_skip) {
        Sublayer::backward(worker, p.sublayer, dp.sublayer, flow, h, saved.sublayer, dg, dh, through);
        NormLayer::backward(worker, p.pre_norm, dp.pre_norm, flow, as_stream(x), saved.pre, dh, dx, skip);
      } else {
        if (skip.value) through = combined(worker, through, skip, x.count);
        Sublayer::backward(worker, p.sublayer, dp.sublayer, flow, h, saved.sublayer, dg, dh, {});
        NormLayer::backward(worker, p.pre_norm, dp.pre_norm, flow, as_stream(x), saved.pre, dh, dx, through);
      }
    } else {
      if (skip.value) through = combined(worker, through, skip, x.count);
      const auto h = shifted<P>(worker, p, as_branch(x));
      if constexpr (Facts::shifts_input) {
        const auto dh = worker.template rows<typename P::Stream, width>(x.count);
        Sublayer::backward(worker, p.sublayer, dp.sublayer, flow, h, saved.sublayer, dg, dh, {});
        worker(op::ShiftBackward<P>{.dy = dh, .dshift = dp.shift});
        worker(
            op::ResidualAdd<P>{.x = through.value, .f = dh, .a = {through.scale, {}}, .b = {}, .dropout = {}, .y = dx});
      } else {
        Sublayer::backward(worker, p.sublayer, dp.sublayer, flow, h, saved.sublayer, dg, dx, through);
      }
    }
  }

 private:
  /// Where f is written: where the residual add wants to read it, so that it has no buffer of its own unless its values
  /// are needed again, or its type is not the stream's.
  template <class P>
  static constexpr Rows<typename P::Activation, width> branch(auto& worker, const Saved<P>& saved,
                                                              StreamOut<P, width> y) {
    if constexpr (keeps_branch)
      return resized(saved.f, y.count);
    else if constexpr (!branches_read_stream<P>)
      return worker.template rows<typename P::Activation, width>(y.count);
    else if constexpr (Facts::post_norm)
      return resized(saved.z, y.count);
    else
      return y;
  }

  /// Where pre(x) is written: as G reads it, and for a normed skip as the stream has it too.
  template <class P>
  static constexpr StreamOut<P, width> pre_norm_output(auto& worker, int count) {
    if constexpr (Facts::normed_skip)
      return take_stream<P, width>(worker.workspace(), count);
    else
      return only_branch<P>(worker.template rows<typename P::Activation, width>(count));
  }

  /// What G reads where there is no norm before it.
  template <class P>
  static constexpr Rows<const typename P::Activation, width> shifted(auto& worker,
                                                                     const Params<const typename P::Weight>& p,
                                                                     Rows<const typename P::Activation, width> x) {
    if constexpr (Facts::shifts_input) {
      const auto h = worker.template rows<typename P::Activation, width>(x.count);
      worker(op::Shift<P>{.x = x, .shift = p.shift, .y = h});
      return h;
    } else {
      return x;
    }
  }

  template <class P>
  static constexpr Rows<const typename P::Stream, width> with_layer_input(auto& worker,
                                                                          Rows<const typename P::Stream, width> x,
                                                                          const Flow<P>& flow) {
    const auto scope = worker.scope(layer_input_scope);
    const auto sum = worker.template rows<typename P::Stream, width>(x.count);
    worker(op::ResidualAdd<P>{.x = x, .f = flow.layer_input, .a = {}, .b = {}, .dropout = {}, .y = sum});
    return sum;
  }

  template <class P>
  static constexpr ResidualScale<P> skip_scale(const Params<const typename P::Weight>& p, const Flow<P>& flow) {
    ResidualScale<P> scale{Facts::skip(flow.block), {}};
    if constexpr (scales_skip) scale.learned = p.scale.values;
    return scale;
  }
  template <class P>
  static constexpr ResidualScale<P> branch_scale(const Params<const typename P::Weight>& p, const Flow<P>& flow) {
    ResidualScale<P> scale{Facts::branch(flow.block), {}};
    if constexpr (keeps_branch) scale.learned = p.scale.values;
    return scale;
  }

  /// Admin's profiling pass: the skip scale of this sublayer, which is noted; and, from the variances of what is added
  /// here, that of the next one. `y` is overwritten: it holds the branch as it is added, after dropout.
  template <class P>
  static constexpr double measure(auto& worker, AdminProfile& profile, StreamIn<P, width> x,
                                  Rows<typename P::Activation, width> f, const ResidualScale<P>& b,
                                  const Dropout& dropout, StreamOut<P, width> y) {
    static_assert(Facts::post_norm, "Residual: a policy that is profiled has a post-norm");
    const auto variance = [&](Rows<const typename P::Activation, width> rows) {
      worker(op::Variance<P>{.x = rows, .result = worker.slot(&Slots::variance)});
      return worker.read(&Slots::variance);
    };
    const double scale = profile.scale, input = Facts::unit_input ? 1 : variance(as_branch(x));
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
