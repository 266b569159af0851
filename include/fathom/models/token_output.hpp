// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/options.hpp>
#include <fathom/core/root.hpp>
#include <fathom/layers/layer.hpp>
#include <fathom/models/token_stack.hpp>
#include <span>
#include <type_traits>
#include <utility>

namespace fathom::inline FATHOM_ABI {

struct OutputTag {};
/// Output matrix of its own (default), or the embedding's once more.
struct SeparateOutput {
  using tag = OutputTag;
  static constexpr bool tied = false;
};
struct TiedOutput {
  using tag = OutputTag;
  static constexpr bool tied = true;
};

struct LogitsTag {};
/// Logits as the output matrix gives them, or multiplied by one learned factor that starts at 1 / sqrt(width).
///
/// The default is ScaledLogits for a tied output behind a stack whose last residual has a post-norm, PlainLogits
/// elsewhere. DeepNorm starts near the identity, so such a stack gives LN(x), the embedding once more: with the same
/// matrix behind it, a token's own logit is sqrt(width) · |e| above the others, and each token predicts itself. The
/// factor has to grow to about 1 soon after. Adam moves a parameter by the learning rate whatever it is for, so what is
/// learned is the factor divided by sqrt(width).
struct PlainLogits {
  using tag = LogitsTag;
  static constexpr bool scaled = false;
};
struct ScaledLogits {
  using tag = LogitsTag;
  static constexpr bool scaled = true;
  static constexpr double constant(int width) { return square_root(width); }  ///< what the parameter is multiplied by
};

struct OutputBiasTag {};
/// Whether a learned bias is added to the logits; it starts at zero. By default there is none.
struct UnbiasedOutput {
  using tag = OutputBiasTag;
  static constexpr bool value = false;
};
struct BiasedOutput {
  using tag = OutputBiasTag;
  static constexpr bool value = true;
};

/// Whether the last residual of a stack has a post-norm.
template <class Stack>
constexpr bool ends_in_post_norm() {
  bool post_norm = false;
  each_residual<Stack>([&](auto residual) { post_norm = decltype(residual)::type::ResidualPolicy::post_norm; });
  return post_norm;
}

/// The output layer behind a `TokenStack`: one token is predicted a row.
///
/// Options    output: SeparateOutput, TiedOutput; logits: PlainLogits, ScaledLogits; bias: UnbiasedOutput,
///            BiasedOutput. Others are another part's.
///
/// ScaledLogits  s · h Eᵀ is computed as (s · h) Eᵀ, so ds = Σ d(s · h) ⊙ h; s = sqrt(width) · output.scale. A program
///               that knows no such factor gets the same logits from the last norm's gain and bias, multiplied by s.
template <class TokenStackType, class... Options>
struct TokenOutput {
  using Body = TokenStackType;
  static constexpr int vocabulary = Body::vocabulary, width = Body::width;
  static constexpr bool tied = Option<SeparateOutput, Options...>::tied;
  using DefaultLogits =
      std::conditional_t<tied && ends_in_post_norm<typename Body::Stack>(), ScaledLogits, PlainLogits>;
  static constexpr bool scaled = Option<DefaultLogits, Options...>::scaled;
  static constexpr bool biased = Option<UnbiasedOutput, Options...>::value;

  template <class T>
  struct Params {
    std::conditional_t<tied, Matrix<T>, WeightMatrix<T, vocabulary, width>> separate;
    Vector<T, 1> scale;  // of ScaledLogits
    OptionalVector<T, vocabulary, biased> bias;

    constexpr void each(auto& visitor) {
      if constexpr (!tied)
        visitor.tensor("weight", separate, Role::logits,
                       init::normal(outer_gain<typename Body::Stack>(Role::logits) / square_root(width)));
      if constexpr (scaled) visitor.tensor("scale", scale, Role::logit_scale, init::constant(1.0 / width));
      if constexpr (biased) visitor.tensor("bias", bias, Role::bias, init::zeros);
    }
    /// The matrix [vocabulary, width] that it multiplies with.
    constexpr Matrix<T> matrix(const typename Body::template Params<T>& body) const {
      if constexpr (tied)
        return body.token;
      else
        return separate;
    }
  };

  static constexpr void describe(auto&& fact) {
    fact("output", tied ? "tied" : "separate");
    fact("logits", scaled ? "scaled" : "plain");
    if constexpr (biased) fact("output_bias", true);
  }

  /// Writes the rows that are multiplied with the matrix, scaled_rows, from those of the stack. Without ScaledLogits
  /// they are the stack's, and this does nothing.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p,
                                Rows<const typename P::Activation, width> rows,
                                Rows<typename P::Activation, width> scaled_rows) {
    if constexpr (scaled) {
      const auto scope = worker.scope("output");
      worker(op::ResidualAdd<P>{.x = {},
                                .f = rows,
                                .a = {},
                                .b = {ScaledLogits::constant(width), p.scale},
                                .dropout = {},
                                .y = scaled_rows});
    }
  }

  /// Logits (n, vocabulary) of scaled rows, overwritten; both are rows of the worker's packing.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void logits(W& worker, const Params<const typename P::Weight>& p,
                               Matrix<const typename P::Weight> matrix,
                               Rows<const typename P::Activation, width> scaled_rows,
                               Rows<typename P::Activation, vocabulary> logits) {
    const auto scope = worker.scope("output");
    worker(op::LinearForward<P>{.x = scaled_rows, .weight = matrix, .bias = p.bias, .y = logits});
  }

  /// The loss of scaled rows against `targets`, without gradients, in Slots::loss.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void loss(W& worker, const Params<const typename P::Weight>& p,
                             Matrix<const typename P::Weight> matrix,
                             Rows<const typename P::Activation, width> scaled_rows, std::span<const int> targets) {
    const auto scope = worker.scope("output");
    worker(op::LinearCrossEntropy<P>{.x = scaled_rows,
                                     .weight = matrix,
                                     .bias = p.bias,
                                     .targets = targets,
                                     .options = {},
                                     .target_weight = 0,
                                     .sums = worker.slot(&Slots::loss),
                                     .dx = {},
                                     .dweight = {},
                                     .dbias = {}});
  }

  /// The same, and the gradients of target_weight · loss: `d_rows` that of the stack's rows, overwritten; those of the
  /// matrix and the factor ADDED TO. `spare` is overwritten too.
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, Matrix<const typename P::Weight> matrix,
                                 Matrix<typename P::Gradient> dmatrix, Rows<const typename P::Activation, width> rows,
                                 Rows<const typename P::Activation, width> scaled_rows, std::span<const int> targets,
                                 const LossOptions& options, double target_weight,
                                 Rows<typename P::Stream, width> d_rows, Rows<typename P::Stream, width> spare) {
    const auto scope = worker.scope("output");
    const auto d_scaled = scaled ? spare : d_rows;
    worker(op::LinearCrossEntropy<P>{.x = scaled_rows,
                                     .weight = matrix,
                                     .bias = p.bias,
                                     .targets = targets,
                                     .options = options,
                                     .target_weight = target_weight,
                                     .sums = worker.slot(&Slots::loss),
                                     .dx = d_scaled,
                                     .dweight = dmatrix,
                                     .dbias = dp.bias});
    if constexpr (scaled)
      worker(op::ResidualAddBackward<P>{.x = {},
                                        .f = rows,
                                        .a = {},
                                        .b = {ScaledLogits::constant(width), p.scale},
                                        .dropout = {},
                                        .dy = d_scaled,
                                        .dx = {},
                                        .df = d_rows,
                                        .da = {},
                                        .db = dp.scale});
  }
};

}  // namespace fathom::inline FATHOM_ABI
