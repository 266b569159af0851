// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/layers/policies.hpp>
#include <string>

namespace policies_test {

using namespace fathom;

constexpr BlockIndex first{0, 10}, last{9, 10};

TEST_CASE("DeepNorm's beta is 1 / (sqrt 2 alpha), and its alpha is one for a depth, unless nobody checks", "[layers]") {
  REQUIRE(std::abs(DeepNorm<2.0>::beta - 1 / (std::sqrt(2.0) * 2)) < 1e-15);
  REQUIRE(DeepNorm<2.0>::alpha_for_depth() == 2);
  REQUIRE(Unchecked<DeepNorm<2.0>>::alpha_for_depth() == 0);
  REQUIRE(std::string(Unchecked<DeepNorm<2.0>>::name) == "DeepNorm");
}

// What each policy does to skip, branch, norms and initial values.
static_assert(PostNorm::post_norm && !PostNorm::pre_norm && !PostNorm::final_norm);
static_assert(PreNorm::pre_norm && PreNorm::final_norm && !PreNorm::post_norm);
static_assert(DeepNorm<2.0>::skip(last) == 2 && DeepNorm<2.0>::branch(last) == 1 && DeepNorm<2.0>::post_norm);
static_assert(ReZero::learned == LearnedScale::branch_scalar && ReZero::gain(Role::branch_scale, first) == 0);
static_assert(ReZero::gain(Role::value, first) == 1 && !ReZero::post_norm);
static_assert(ReZeroPerLayer::learned == LearnedScale::layer_scalar);
static_assert(Admin::learned == LearnedScale::skip_vector && Admin::profiled && Admin::post_norm);
static_assert(PostNormInit::gain(Role::value, first) == 0.1 && PostNormInit::gain(Role::value, last) == 1);
static_assert(PostNormInit::gain(Role::value, BlockIndex{}) == 1);  // outside of a stack

// DeepNet, figure 2: beta for values, outputs and feed-forward matrices; queries and keys keep gain 1. A gate keeps it
// too, see scaled_by_depth.
constexpr double gain(Role role) { return DeepNorm<2.0, 0.25>::gain(role, first); }
static_assert(gain(Role::value) == 0.25 && gain(Role::attention_output) == 0.25);
static_assert(gain(Role::feed_forward_input) == 0.25 && gain(Role::feed_forward_output) == 0.25);
static_assert(gain(Role::query) == 1 && gain(Role::key) == 1 && gain(Role::feed_forward_gate) == 1);
static_assert(gain(Role::bias) == 1 && gain(Role::norm_gain) == 1 && gain(Role::embedding) == 1);

}  // namespace policies_test
