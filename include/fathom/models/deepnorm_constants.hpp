// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/root.hpp>
#include <numbers>

/// DeepNorm's constants: x_{l+1} = LN(alpha * x_l + G_l(x_l)), where the value, output and both feed-forward matrices
/// of G_l are initialized with gain beta.
///
/// Depths     count layers, not sublayers: N encoder layers, M decoder layers.
/// Errors     a depth below 1 does not compile in a constant expression and throws Error at run time.
/// Accuracy   a few units in the last place, for any depth.
/// Source     Wang et al. 2022, "DeepNet: Scaling Transformers to 1,000 Layers", arXiv:2203.00555, Figure 2 (b).
namespace fathom::inline FATHOM_ABI::deepnorm {

struct Constants {
  double alpha;  ///< scale of the skip connection
  double beta;   ///< gain of the initial value, output and feed-forward matrices
};

struct EncoderDecoderConstants {
  Constants encoder, decoder;
};

namespace detail {

/// (N^4 M)^(1/16), as (N M^(1/4))^(1/4): N^4 alone leaves the exact integers of a double at N = 9,742.
constexpr double encoder_scale(double encoder_layers, double decoder_layers) {
  return fourth_root(encoder_layers * fourth_root(decoder_layers));
}

constexpr double checked_depth(int layers) {
  if (layers < 1) throw Error("deepnorm: a stack has at least 1 layer, pass its depth in layers");
  return layers;
}

}  // namespace detail

/// Encoder of N layers without a decoder: alpha = (2N)^(1/4), beta = (8N)^(-1/4).
constexpr Constants encoder_only(int layers) {
  const double depth = detail::checked_depth(layers);
  return {.alpha = fourth_root(2 * depth), .beta = 1 / fourth_root(8 * depth)};
}

/// Decoder of M layers without cross-attention: alpha = (2M)^(1/4), beta = (8M)^(-1/4).
constexpr Constants decoder_only(int layers) { return encoder_only(layers); }

/// Encoder of N and decoder of M layers: alpha_e = 0.81 (N^4 M)^(1/16), beta_e = 0.87 (N^4 M)^(-1/16),
/// alpha_d = (3M)^(1/4), beta_d = (12M)^(-1/4). 0.81 and 0.87 are the paper's own roundings, see `exact`.
constexpr EncoderDecoderConstants encoder_decoder(int encoder_layers, int decoder_layers) {
  const double depth = detail::checked_depth(decoder_layers);
  const double scale = detail::encoder_scale(detail::checked_depth(encoder_layers), depth);
  return {.encoder = {.alpha = 0.81 * scale, .beta = 0.87 / scale},
          .decoder = {.alpha = fourth_root(3 * depth), .beta = 1 / fourth_root(12 * depth)}};
}

/// What the derivation (Appendix B) gives before rounding. There every stack obeys alpha * beta = 1/sqrt(2).
namespace exact {

/// The beta that belongs to an alpha: 1 / (sqrt(2) alpha).
constexpr double beta(double alpha) { return 1 / (std::numbers::sqrt2 * alpha); }

/// As deepnorm::encoder_decoder with alpha_e = (N^4 M / 27)^(1/16), whose factor is 3^(-3/16) = 0.8138, and
/// beta_e = 1 / (sqrt(2) alpha_e), whose factor is 3^(3/16) / sqrt(2) = 0.8689. The decoder's were not rounded.
constexpr EncoderDecoderConstants encoder_decoder(int encoder_layers, int decoder_layers) {
  const double alpha =
      detail::encoder_scale(detail::checked_depth(encoder_layers), detail::checked_depth(decoder_layers) / 27);
  return {.encoder = {.alpha = alpha, .beta = beta(alpha)},
          .decoder = deepnorm::encoder_decoder(encoder_layers, decoder_layers).decoder};
}

}  // namespace exact
}  // namespace fathom::inline FATHOM_ABI::deepnorm
