// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "layers/deviations.hpp"
#include "support/policy_lists.hpp"

namespace policy_gains_test {

/// Initial standard deviations: for every policy and kind of stack, what the papers say, written down once more.
using namespace fathom_test;

constexpr int width = 64, n = stack_depth;

Gain all_by(std::function<double(int)> gain) {
  return [=](Role, int l, bool) { return gain(l); };
}
Gain not_across(double gain) {
  return [=](Role role, int, bool crosses) { return is_scaled(role) && !crosses ? gain : 1; };
}
Gain fixup(int branches) {
  return [=](Role role, int, bool) {
    if (role == Role::attention_output || role == Role::feed_forward_output) return 0.0;
    return std::pow(branches, role == Role::feed_forward_input ? -1.0 / 2 : -1.0 / 6);
  };
}

/// The gains of a stack alone, an encoder, and its decoder, by the name of the policy.
const std::map<std::string, std::array<Gain, 3>, std::less<>>& expected_gains() {
  const auto same = [](const Gain& gain) { return std::array{gain, gain, gain}; };
  static const std::map<std::string, std::array<Gain, 3>, std::less<>> gains{
      {"PostNorm", same(scaled_by(1))},
      {"PreNorm", same(scaled_by(1))},
      {"DeepNorm",
       {scaled_by(std::pow(8.0 * n, -0.25)),
        scaled_by(1 / (std::sqrt(2.0) * 0.81 * std::pow(std::pow(n, 4) * n, 1.0 / 16))),
        scaled_by(std::pow(12.0 * n, -0.25))}},
      {"PostNormInit", same([](Role role, int l, bool) { return is_scaled(role) ? 1.0 / (n - l + 1) : 1; })},
      {"ReZero", same(scaled_by(1))},
      {"ReZeroPerLayer", same(scaled_by(1))},
      {"Admin", same(scaled_by(1))},
      {"AdminClosedForm", same(scaled_by(1))},
      {"DsInit", same(all_by([](int l) { return std::pow(l, -0.5); }))},
      {"DsInitOfVariance", same(all_by([](int l) { return std::pow(l, -0.25); }))},
      {"TFixup",
       {scaled_by(0.67 * std::pow(n, -0.25)), scaled_by(0.67 * std::pow(n, -0.25)),
        scaled_by(std::pow(9.0 * n, -0.25))}},
      {"Fixup", {fixup(2 * n), fixup(5 * n), fixup(5 * n)}},
      {"LayerScale", same(scaled_by(1))},
      {"SandwichNorm", same(scaled_by(1))},
      {"GlmNorm", same(scaled_by(std::pow(2.0 * n, -0.5)))},
      {"BottomToTop", same(all_by([](int) { return std::pow(n, -0.5); }))},
      {"Keel", same(scaled_by(1))},
      {"NormFormer", same(scaled_by(1))},
      {"NormFormerWithScale", same(scaled_by(1))},
      {"SubNorm",
       {not_across(std::sqrt(std::log(2.0 * n))), not_across(std::sqrt(std::log(3.0 * n) * std::log(2.0 * n) / 3)),
        not_across(std::sqrt(std::log(3.0 * n)))}}};
  return gains;
}

template <class Stack>
void require_deviations_of(const Gain& gain) {
  REQUIRE(worst_deviation(describe<Stack>(), parameter_extent<Stack>().total(), gain) < 0.02);
}

template <class... Cases>
void require_all(std::type_identity<std::tuple<Cases...>>) {
  const auto check = []<class Case>(std::type_identity<Case>) {
    INFO(Case::InStack::name);
    const auto& gains = expected_gains().at(Case::InStack::name);
    require_deviations_of<DecoderOnlyStack<Case, width>>(gains[0]);
    require_deviations_of<EncoderOnlyStack<Case, width>>(gains[0]);
    require_deviations_of<EncoderStack<Case, width>>(gains[1]);
    require_deviations_of<DecoderStack<Case, width>>(gains[2]);
  };
  (check(std::type_identity<Cases>{}), ...);
}

TEST_CASE("every policy starts with the deviations of its paper", "[layers]") {
  require_all(std::type_identity<PolicyCases>{});
}

/// The only tensor of a role in the first block.
template <class Stack>
double first_gain(Role role) {
  for (const ParameterInfo& info : describe<Stack>())
    if (info.role == role) return info.gain * info.init.value;
  return -1;
}
template <class Policy, int Depth = stack_depth>
using Blocks = Repeat<Depth, PolicyBlock<Policy, 4, Causal>>;

TEST_CASE("learned scales start where their papers say", "[layers]") {
  REQUIRE(first_gain<Blocks<ReZero>>(Role::branch_scale) == 0);
  REQUIRE(first_gain<Blocks<ReZeroPerLayer>>(Role::branch_scale) == 0);
  REQUIRE(first_gain<Blocks<LayerScale, 18>>(Role::branch_scale) == 0.1);
  REQUIRE(first_gain<Blocks<LayerScale, 24>>(Role::branch_scale) == 1e-5);
  REQUIRE(first_gain<Blocks<LayerScale, 25>>(Role::branch_scale) == 1e-6);
  REQUIRE(first_gain<Blocks<Admin>>(Role::skip_scale) == 1);
  REQUIRE(first_gain<Blocks<NormFormerWithScale>>(Role::skip_scale) == 1);
  REQUIRE(first_gain<Blocks<NormFormer>>(Role::head_scale) == 1);
  REQUIRE(first_gain<Blocks<Fixup<6>>>(Role::branch_scale) == 1);
  REQUIRE(first_gain<Blocks<Fixup<6>>>(Role::shift) == 0);
  REQUIRE(std::abs(first_gain<Blocks<AdminClosedForm<12>>>(Role::skip_scale) - std::sqrt(13 / std::log(13.0) - 1)) <
          1e-14);
}

TEST_CASE("ReZero has a scalar a sublayer, or one a layer", "[layers]") {
  const auto count = [](const std::vector<ParameterInfo>& table) {
    return std::ranges::count(table, Role::branch_scale, &ParameterInfo::role);
  };
  REQUIRE(count(describe<Blocks<ReZero>>()) == 2 * stack_depth);
  REQUIRE(count(describe<Blocks<ReZeroPerLayer>>()) == stack_depth);
}

}  // namespace policy_gains_test
