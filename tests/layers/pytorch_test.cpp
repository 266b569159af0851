// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/dlcl.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/layers/shifted_output.hpp>
#include <fathom/layers/stacks.hpp>
#include <fathom/testing/layer_run.hpp>
#include <functional>
#include <map>
#include <string>

#include "support/near.hpp"
#include "support/policy_lists.hpp"
#include "support/reference.hpp"

namespace pytorch_test {

using namespace fathom_test;
using namespace fathom;

/// Output and all gradients of a layer agree with the case.
template <class L>
void agrees(const Reference& reference) {
  const bool has_memory = reference.has("input.memory");
  const auto lengths = reference.lengths("offsets");
  const int rows = int(reference.values("input.x").size()) / L::input_width;
  testing::LayerRun<L> run({.lengths = lengths.empty() ? std::vector{rows} : lengths,
                            .memory_lengths = reference.lengths("memory_offsets"),
                            .memory_width = has_memory ? reference.columns("input.memory") : 0});
  std::ranges::copy(reference.values("input.x"), run.x.data());
  std::ranges::copy(reference.values("upstream.y"), run.dy.data());
  if (has_memory) std::ranges::copy(reference.values("input.memory"), run.memory.data());
  const auto parameters = describe<L>();
  REQUIRE(reference.count("parameter.") == int(parameters.size()));
  for (const ParameterInfo& info : parameters)
    std::ranges::copy(reference.values("parameter." + info.name), run.parameters.data() + info.offset);

  run.poison();
  run.forward();
  run.backward();

  require_near(run.y.span(), reference.values("output.y"), "y");
  require_near(run.dx.span(), reference.values("grad.input.x"), "dx");
  if (has_memory) require_near(run.memory_gradient.span(), reference.values("grad.input.memory"), "memory gradient");
  for (const ParameterInfo& info : parameters)
    require_near(run.gradients.span().subspan(info.offset, info.size()),
                 reference.values("grad.parameter." + info.name), info.name);
}

constexpr double alpha = 3.7606030930863934;  // 200^(1/4)
template <class Policy>
using Layer = Sequence<Residual<Policy, Attention<8, 2>>, Residual<Policy, FeedForward<8, 12>>>;

template <class Policy>
using Reading = PolicyDecoderBlock<Policy, 4>;

struct Case {
  const char* name;
  void (*check)(const Reference&);
} const cases[] = {
    {"linear", agrees<Linear<5, 7>>},
    {"linear_no_bias", agrees<Linear<5, 7, false>>},
    {"layer_norm", agrees<LayerNorm<11>>},
    {"rms_norm", agrees<RmsNorm<11>>},
    {"feed_forward_relu", agrees<FeedForward<6, 10, Relu>>},
    {"feed_forward_gelu", agrees<FeedForward<6, 10, Gelu>>},
    {"feed_forward_gelu_tanh", agrees<FeedForward<6, 10, GeluTanh>>},
    {"feed_forward_swiglu", agrees<FeedForward<6, 10, SwiGlu, NoBias>>},
    {"feed_forward_swiglu_bias", agrees<FeedForward<6, 10, SwiGlu>>},
    {"attention_causal", agrees<Attention<12, 3>>},
    {"attention_causal_no_bias", agrees<Attention<12, 3, Causal, NoBias>>},
    {"attention_causal_long", agrees<Attention<8, 2>>},
    {"attention_causal_long", agrees<Attention<8, 2, Causal, SaveAll>>},
    {"attention_full", agrees<Attention<12, 3, Full>>},
    {"attention_rotary", agrees<Attention<12, 3, Causal, Rotary<>>>},
    {"attention_rotary_full", agrees<Attention<12, 3, Full, Rotary<>>>},
    {"attention_grouped", agrees<Attention<12, 6, Causal, KeyValueHeads<2>>>},
    {"attention_grouped_rotary", agrees<Attention<16, 4, Causal, KeyValueHeads<2>, Rotary<>, NoBias>>},
    {"attention_one_kv_head", agrees<Attention<12, 3, Full, KeyValueHeads<1>>>},
    {"attention_relative", agrees<Attention<12, 3, Causal, RelativePositions<8, 20>, NoBias>>},
    {"attention_relative_full", agrees<Attention<12, 6, Full, KeyValueHeads<2>, RelativePositions<8, 20>>>},
    {"attention_cross", agrees<CrossAttention<12, 3>>},
    {"attention_cross_grouped", agrees<CrossAttention<12, 6, 12, KeyValueHeads<2>>>},
    {"residual_post_norm", agrees<Residual<PostNorm, FeedForward<8, 12>>>},
    {"residual_pre_norm", agrees<Residual<PreNorm, FeedForward<8, 12>>>},
    {"residual_deep_norm", agrees<Residual<DeepNorm<alpha>, FeedForward<8, 12>>>},
    {"residual_rezero", agrees<Residual<ReZero, FeedForward<8, 12>>>},
    {"residual_admin", agrees<Residual<Admin, FeedForward<8, 12>>>},
    {"stacks_mix_norm", agrees<MixNormStack<3, Layer, 1>>},
    {"stacks_keel", agrees<KeelStack<3, Layer>>},
    {"dlcl", agrees<Dlcl<3, Sequence<Residual<PreNorm, Attention<8, 2>>, Residual<PreNorm, FeedForward<8, 12>>>>>},
    {"dlcl_post",
     agrees<DlclPost<3, Sequence<Residual<PostNorm, Attention<8, 2>>, Residual<PostNorm, FeedForward<8, 12>>>>>},
    {"decoders_mix_norm", agrees<MixNormStack<3, Reading, 1>>},
    {"decoders_keel", agrees<KeelStack<3, Reading>>},
    {"decoders_dlcl", agrees<Dlcl<3, Reading<PreNorm>>>},
    {"decoders_dlcl_post", agrees<DlclPost<3, Reading<PostNorm>>>},
    {"shifted_output", agrees<ShiftedOutput<6, false>>},
    {"shifted_output_scaled", agrees<ShiftedOutput<6, true>>},
    {"dlcl_feed_forward", agrees<Dlcl<3, Sequence<Residual<PreNorm, FeedForward<8, 12>>>>>},
};

/// Policies that differ in initial values alone have the vectors of one of them.
const std::map<std::string, std::string, std::less<>> same_rule{{"PostNormInit", "PostNorm"},
                                                                {"DsInit", "PostNorm"},
                                                                {"DsInitOfVariance", "PostNorm"},
                                                                {"AdminClosedForm", "Admin"},
                                                                {"TFixupDecoder", "TFixup"}};

TEMPLATE_LIST_TEST_CASE("decoders under each policy agree with PyTorch", "[layers]", PolicyCases) {
  const std::string name = TestType::InDecoder::name;
  const auto other = same_rule.find(name);
  agrees<DecoderStack<TestType, 4>>(Reference("policy_" + (other == same_rule.end() ? name : other->second)));
}

TEST_CASE("layers and their gradients agree with PyTorch", "[layers]") {
  for (const Case& c : cases) {
    INFO(c.name);
    c.check(Reference(c.name));
  }
}

}  // namespace pytorch_test
