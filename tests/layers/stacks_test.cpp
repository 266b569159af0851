// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/stacks.hpp>

#include <catch2/catch_test_macros.hpp>
#include <fathom/layers/dlcl.hpp>
#include <fathom/models/language_model.hpp>
#include <optional>
#include <string>
#include <tuple>
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

template <class Policy>
using Seeing = PolicyBlock<Policy, width, Full>;
template <class Policy>
using Reading = PolicyDecoderBlock<Policy, width>;

/// Each kind of stack as an encoder, and as a decoder that reads it.
template <class Encoding, class Decoding, bool Bends = false>
struct Pair {
  using Encoder = Encoding;
  using Decoder = Decoding;
  static constexpr std::optional<double> step = Bends ? std::optional(0x1p-15) : std::nullopt;
};
using Pairs = std::tuple<Pair<Dlcl<3, Seeing<PreNorm>>, Dlcl<3, Reading<PreNorm>>, true>,
                         Pair<DlclPost<3, Seeing<PostNorm>>, DlclPost<3, Reading<PostNorm>>, true>,
                         Pair<MixNormStack<4, Seeing, 2>, MixNormStack<4, Reading, 2>>,
                         Pair<KeelStack<3, Seeing>, KeelStack<3, Reading>>>;

TEMPLATE_LIST_TEST_CASE("gradients of stacks of several rules agree with differences, in encoders and in decoders",
                        "[layers]", Pairs) {
  require_gradients_of_stack<typename TestType::Encoder>({.lengths = {3, 1}}, TestType::step);
  require_gradients_of_stack<typename TestType::Decoder>(
      {.lengths = {3, 1}, .memory_lengths = {2, 3}, .memory_width = width}, TestType::step);
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
