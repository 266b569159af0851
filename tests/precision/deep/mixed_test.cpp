// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <type_traits>
#include <vector>

#include "precision/deep/gradient_error.hpp"
#include "support/following_tokens.hpp"

namespace mixed_test {

/// Mixed precision on deep models: what it does to gradients, and to training.
using namespace fathom_test;

constexpr int vocabulary = 31, length = 16;

template <int Depth>
using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderOnly<Depth, 16, 2, 32>>;

/// What a precision of Bf16 does against what the same of `Loose` may do. Prints a line.
template <class P, class LooseP, class M>
void check_gradients(const char* name, const GradientErrors<M>& errors) {
  const std::vector<double> measured = errors.template of<Ref<P>>(), bound = errors.template bound<LooseP>();
  const auto worst = errors.worst(measured, bound);
  const double ratio = errors.relative(measured) / errors.relative(bound);
  const std::vector<double> summed = errors.template of<Ref<SumsOf16Bits<P>>>();
  const double broken = errors.relative(summed) / errors.relative(bound);
  const double broken_worst = errors.worst(summed, bound).ratio;
  std::printf(
      "%s: relative error of the gradients %.5f, bound %.5f, ratio %.2f (of a tensor %.2f, %s); with sums of "
      "16 bits %.2f (%.2f)\n",
      name, errors.relative(measured), errors.relative(bound), ratio, worst.ratio, worst.name.c_str(), broken,
      broken_worst);
  CHECK(ratio < 2);
  CHECK(ratio > 0.5);  // the bound is not too large to tell anything
  CHECK(worst.ratio < 4);
  CHECK(broken_worst > 4);
  if (std::is_same_v<typename P::Stream, float>) CHECK(broken > 4);
}

TEMPLATE_TEST_CASE_SIG("mixed: gradients of deep models are as far off as their roundings", "[mixed]",
                       ((int Depth), Depth), 6, 100) {
  constexpr int sequences = 8;
  const FollowingTokens<vocabulary> tokens(1, sequences, length);
  const GradientErrors<Model<Depth>> errors({sequences * length, sequences, length}, tokens,
                                            some_masters<Model<Depth>>());
  std::printf("%3d layers\n", Depth);
  check_gradients<Mixed, MixedOf<Loose>>("  stream of floats ", errors);
  check_gradients<MixedOf<Bf16, Bf16>, MixedOf<Loose, Loose>>("  stream of 16 bits", errors);
}

}  // namespace mixed_test
