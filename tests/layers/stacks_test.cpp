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
  require_gradients_of_stack<KeelStack<3, Layer>>({.lengths = {3, 1}});
}

TEST_CASE("Keel's first attention adds to the stream as it is, and all that follow are normed", "[layers]") {
  using First = KeelFirstLayer;
  static_assert(!PolicyOn<First, Attention<width, 2>>::post_norm && PolicyOn<First, Attention<width, 2>>::pre_norm);
  static_assert(PolicyOn<First, FeedForward<width, 6>>::post_norm && PolicyOn<First, FeedForward<width, 6>>::pre_norm);
  static_assert(PolicyOn<First, CrossAttention<width, 2>>::post_norm);
  int post_norms = 0;
  using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, KeelStack<3, Layer>>;
  for (const ParameterInfo& info : describe<Model>()) {
    const bool gain = info.name.ends_with(".norm.gain"), pre = info.name.ends_with(".pre_norm.gain");
    if (gain && !pre) ++post_norms;
  }
  CHECK(post_norms == 2 * 3);  // of the first attention it is the norm before it
  static_assert(std::is_same_v<PolicyOn<Keel<6>, Attention<width, 2>>, Keel<6>>);
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
