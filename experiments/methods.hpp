// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/parameters.hpp>
#include <fathom/layers/dlcl.hpp>
#include <fathom/layers/policies.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/models/deepnorm_constants.hpp>
#include <fathom/optim/parameter_rules.hpp>
#include <span>
#include <vector>

/// What the grid compares: a name, the policy of the blocks for the depths of a model, and the stack. CMakeLists.txt
/// lists the ones that are compiled; a policy without constants needs a line there and none here.
namespace fathom::experiments {

/// `Policy`, whatever the depth.
template <class Policy>
struct Plain {
  static constexpr const char* name = Policy::name;
  template <int Layers>
  using Only = Policy;  ///< of a model of one stack
  template <int EncoderLayers, int DecoderLayers>
  using Encoder = Policy;
  template <int EncoderLayers, int DecoderLayers>
  using Decoder = Policy;
  template <int Layers, class Block>
  using Stack = Repeat<Layers, Block>;
};

/// The method that a policy's template, or a stack's, stands for.
struct DeepNormByDepth : Plain<PostNorm> {
  static constexpr const char* name = "DeepNorm";
  template <int Layers>
  using Only = DeepNorm<deepnorm::decoder_only(Layers).alpha>;
  template <int N, int M>
  using Encoder = DeepNorm<deepnorm::encoder_decoder(N, M).encoder.alpha>;
  template <int N, int M>
  using Decoder = DeepNorm<deepnorm::encoder_decoder(N, M).decoder.alpha>;
};
/// Candidates for more learning rates than DeepNorm tolerates. Its gains and biases, of which the theory says nothing,
/// learn slower.
struct DeepNormSlowVectors : DeepNormByDepth {
  static constexpr const char* name = "DeepNormSlowVectors";
  static std::vector<ParameterRule> rules(std::span<const ParameterInfo>) {
    return {{.role = "norm gain", .rate = 0.1}, {.role = "bias", .rate = 0.1}};
  }
};
/// Its matrices learn at the rate times their gain.
struct DeepNormScaledRates : DeepNormByDepth {
  static constexpr const char* name = "DeepNormScaledRates";
  static std::vector<ParameterRule> rules(std::span<const ParameterInfo> table) { return rates_by_gain(table); }
};
/// Its alpha is learned.
template <double Alpha>
struct LearnedAlpha : DeepNorm<Alpha> {
  static constexpr LearnedScale learned = LearnedScale::skip_vector;  ///< it starts at 1, and alpha stays beside it
};
struct DeepNormLearnedAlpha : Plain<PostNorm> {
  static constexpr const char* name = "DeepNormLearnedAlpha";
  template <int Layers>
  using Only = LearnedAlpha<deepnorm::decoder_only(Layers).alpha>;
  template <int N, int M>
  using Encoder = LearnedAlpha<deepnorm::encoder_decoder(N, M).encoder.alpha>;
  template <int N, int M>
  using Decoder = LearnedAlpha<deepnorm::encoder_decoder(N, M).decoder.alpha>;
};
struct FixupByDepth : Plain<PreNorm> {
  static constexpr const char* name = "Fixup";
  template <int Layers>
  using Only = Fixup<2 * Layers>;
  template <int N, int M>
  using Encoder = FixupEncoder<2 * N + 3 * M>;
  template <int N, int M>
  using Decoder = Fixup<2 * N + 3 * M>;
};
struct TFixupOfBoth : Plain<TFixup> {
  template <int N, int M>
  using Decoder = TFixupDecoder;
};
struct DlclOfPreNorm : Plain<PreNorm> {
  static constexpr const char* name = "Dlcl";
  template <int Layers, class Block>
  using Stack = fathom::Dlcl<Layers, Block>;
};

}  // namespace fathom::experiments
