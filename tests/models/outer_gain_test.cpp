// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/translator.hpp>
#include <fathom/models/weights.hpp>
#include <string>

#include "support/policy_lists.hpp"

namespace outer_gain_test {

/// What policies say of the matrices around their stacks, in whole models.
using namespace fathom_test;

template <class Policy>
using Alone = LanguageModel<Vocabulary<37>, ContextLength<8>, DecoderOnlyStack<PolicyCase<Policy>, 8>>;
template <class EncoderPolicy, class DecoderPolicy>
using Pairs = Translator<Encoder<Vocabulary<31>, ContextLength<8>, EncoderStack<PolicyCase<EncoderPolicy>, 8>>,
                         Decoder<Vocabulary<37>, ContextLength<8>,
                                 DecoderStack<PolicyCase<DecoderPolicy, DecoderPolicy, DecoderPolicy>, 8>>>;

/// The root mean square of the initial values of a tensor.
template <class Model>
double size_of(const std::string& name) {
  Weights<Model, Ref<double>> weights(1);
  for (const ParameterInfo& info : describe<Model>()) {
    if (info.name != name) continue;
    double squares = 0;
    for (const double value : read_tensor(weights.flat(), info)) squares += value * value;
    return std::sqrt(squares / double(info.size()));
  }
  FAIL("no tensor is called " + name);
  return 0;
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-9 * std::abs(b); }

TEST_CASE("T-Fixup's embeddings and positions start smaller by (9 N)^(-1/4), and nothing else around the stack",
          "[models]") {
  const double smaller = std::pow(9.0 * stack_depth, -0.25);
  const auto gain = [&](Role role) { return role == Role::embedding || role == Role::position ? smaller : 1; };
  using Plain = Alone<PreNorm>;
  using Fixed = Alone<TFixup>;
  for (const ParameterInfo& info : describe<Fixed>()) {
    if (info.block.depth > 0 || info.is_vector()) continue;
    INFO(info.name);
    CHECK(near(size_of<Fixed>(info.name), size_of<Plain>(info.name) * gain(info.role)));
  }
  using PlainPairs = Pairs<PreNorm, PreNorm>;
  using FixedPairs = Pairs<TFixup, TFixupDecoder>;
  int embeddings = 0;
  for (const ParameterInfo& info : describe<FixedPairs>()) {
    if (info.block.depth > 0 || info.is_vector()) continue;
    INFO(info.name);
    embeddings += info.role == Role::embedding;
    CHECK(near(size_of<FixedPairs>(info.name), size_of<PlainPairs>(info.name) * gain(info.role)));
  }
  CHECK(embeddings == 2);
}

TEST_CASE("Fixup's output matrix starts at zero", "[models]") {
  int matrices = 0;
  for (const ParameterInfo& info : describe<Alone<Fixup<2 * stack_depth>>>()) {
    if (info.role != Role::logits) continue;
    ++matrices;
    CHECK(size_of<Alone<Fixup<2 * stack_depth>>>(info.name) == 0);
    CHECK(size_of<Alone<PreNorm>>(info.name) > 0.1);
  }
  CHECK(matrices == 1);
}

}  // namespace outer_gain_test
