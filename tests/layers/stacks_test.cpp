// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/stacks.hpp>

#include <catch2/catch_test_macros.hpp>
#include <fathom/models/language_model.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "layers/policy_stacks.hpp"

namespace stacks_test {

using namespace fathom_test;

template <class Policy>
using Layer = PolicyBlock<Policy, width, Causal>;
using Mixed = MixNormStack<8, Layer>;

TEST_CASE("gradients of Mix-LN's stack agree with differences", "[layers]") {
  require_gradients_of_stack<MixNormStack<4, Layer, 2>>({.lengths = {3, 1}});
}

TEST_CASE("gradients of Keel's stack agree with differences", "[layers]") {
  require_gradients_of_stack<KeelStack<3, LayerNorm<width>, Attention<width, 2>, FeedForward<width, 6>>>(
      {.lengths = {3, 1}});
}

TEST_CASE("a quarter of Mix-LN's layers are Post-LN, and one more norm stands behind all", "[layers]") {
  static_assert(Mixed::depth == 8);
  using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, Mixed>;
  static_assert(std::is_same_v<Model::Body::FinalNorm, LayerNorm<width>>);
  std::vector<std::string> names;
  for (const ParameterInfo& info : describe<Model>())
    if (info.role == Role::query) names.push_back(info.name);
  REQUIRE(names.size() == 8);
  CHECK(names[1] == "stack.0.blocks.1.attention.query.weight");
  CHECK(names[2] == "stack.1.blocks.0.attention.query.weight");
}

}  // namespace stacks_test
