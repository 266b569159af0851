// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <fathom/core/config.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/models/deepnorm_constants.hpp>
#include <type_traits>

/// Whether stacks are of the depth that their residual policies were made for. A model that knows its stacks asks it.
namespace fathom::inline FATHOM_ABI {

template <class Stack>
concept HasDepth = requires {
  { Stack::depth } -> std::convertible_to<int>;
};
/// `Stack` knows how deep it is; the template argument is the message.
template <class Stack>
struct CheckStack {
  static_assert(HasDepth<Stack>,
                "fathom: a model takes a stack, and this is a single layer or block: say Repeat<depth, Block>, with "
                "Repeat<1, Block> for one block alone");
  static constexpr bool value = true;
};

/// Whether two alphas are one but for rounding.
constexpr bool is_same_alpha(double a, double b) { return a > b * (1 - 1e-9) && a < b * (1 + 1e-9); }

/// Whether `fits(policy as a std::type_identity)` for every residual policy inside `L` that has an alpha for its depth.
template <class L>
constexpr bool depth_policies_fit(auto&& fits) {
  bool all = true;
  each_residual<L>([&](auto residual) {
    using Policy = typename decltype(residual)::type::ResidualPolicy;
    if constexpr (Policy::alpha_for_depth() != 0) all = fits(std::type_identity<Policy>{}) && all;
  });
  return all;
}

/// Whether every residual policy inside `L` is made for a stack of its depth; the template arguments are the message.
template <int StackDepth, int PolicyIsForDepth>
struct CheckDepth {
  static_assert(
      StackDepth == PolicyIsForDepth,
      "fathom: a DeepNorm alpha was made for another depth than its stack has (StackDepth, PolicyIsForDepth); "
      "compute it with deepnorm::decoder_only(StackDepth).alpha, or say Unchecked<DeepNorm<...>> if you mean "
      "it");
  static constexpr bool value = StackDepth == PolicyIsForDepth;
};

/// The depth of a stack alone in its model to which a policy's alpha belongs: `depth` itself if it fits, or if there is
/// no such alpha.
template <class Policy>
constexpr int policy_depth(int depth) {
  const double alpha = Policy::alpha_for_depth();
  if (alpha == 0 || is_same_alpha(alpha, deepnorm::decoder_only(depth).alpha)) return depth;
  return int(alpha * alpha * alpha * alpha / 2 + 0.5);
}

/// A stack alone in its model.
template <int Depth, class L>
constexpr bool depth_fits() {
  return depth_policies_fit<L>([]<class Policy>(std::type_identity<Policy>) {
    return CheckDepth<Depth, policy_depth<Policy>(Depth)>::value;
  });
}

/// Whether the alphas inside an encoder are those that belong to both depths; the template arguments are the message.
template <int EncoderDepth, int DecoderDepth, bool Fits>
struct CheckEncoderDepth {
  static_assert(Fits,
                "fathom: a DeepNorm alpha in the encoder was made for other depths than these (EncoderDepth, "
                "DecoderDepth); compute it with deepnorm::encoder_decoder(EncoderDepth, DecoderDepth).encoder.alpha, "
                "or say Unchecked<DeepNorm<...>> if you mean it");
  static constexpr bool value = Fits;
};
/// The same of a decoder behind an encoder.
template <int EncoderDepth, int DecoderDepth, bool Fits>
struct CheckDecoderDepth {
  static_assert(Fits,
                "fathom: a DeepNorm alpha in the decoder was made for other depths than these (EncoderDepth, "
                "DecoderDepth); compute it with deepnorm::encoder_decoder(EncoderDepth, DecoderDepth).decoder.alpha, "
                "or say Unchecked<DeepNorm<...>> if you mean it");
  static constexpr bool value = Fits;
};

/// Whether an alpha is that of an encoder before such a decoder: the paper's, whose factor is rounded, or the exact
/// one.
constexpr bool fits_encoder(double alpha, int encoder_depth, int decoder_depth) {
  return is_same_alpha(alpha, deepnorm::encoder_decoder(encoder_depth, decoder_depth).encoder.alpha) ||
         is_same_alpha(alpha, deepnorm::exact::encoder_decoder(encoder_depth, decoder_depth).encoder.alpha);
}

/// An encoder and the decoder that reads its output.
template <class Encoder, class Decoder>
constexpr bool depths_fit() {
  const bool encoder = depth_policies_fit<Encoder>([]<class Policy>(std::type_identity<Policy>) {
    return CheckEncoderDepth<Encoder::depth, Decoder::depth,
                             fits_encoder(Policy::alpha_for_depth(), Encoder::depth, Decoder::depth)>::value;
  });
  const bool decoder = depth_policies_fit<Decoder>([]<class Policy>(std::type_identity<Policy>) {
    constexpr double alpha = deepnorm::encoder_decoder(Encoder::depth, Decoder::depth).decoder.alpha;
    return CheckDecoderDepth<Encoder::depth, Decoder::depth, is_same_alpha(Policy::alpha_for_depth(), alpha)>::value;
  });
  return encoder && decoder;
}

}  // namespace fathom::inline FATHOM_ABI
