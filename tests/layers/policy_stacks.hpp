// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/testing/gradient_check.hpp>
#include <optional>

#include "support/policy_lists.hpp"
#include "support/require_gradients.hpp"

namespace fathom_test {

inline constexpr int width = 4;

/// With dropout, at random parameters and at the initial ones, to 1e-6.
///
/// Stacks without norms get twice the usual step. A gradient below the floor, 1e-4, is compared with 1e-10, and
/// rounding leaves some 2^-53 · Σ |dy · y| / step in the differences. Σ |dy · y| is 21 there, and queries and keys have
/// gradients of 1e-6 to 1e-4: the error is 1.03e-6 of the floor for a step of 2^-12, as much or more for smaller ones,
/// 3e-7 for 2^-11 and 1e-7 for 2^-10, so it is rounding and not curvature. Norms bend more: with them 2^-11 leaves up
/// to 8e-6. Slopes along whole tensors bend more still, and are larger than what rounding leaves. Weights of a sum of
/// all layers before bend most: DLCL's stacks get `step`.
template <class Stack>
void require_gradients_of_stack(const testing::LayerRows& batch, std::optional<double> step = {}) {
  const auto parameters = describe<Stack>();
  const bool normed =
      std::ranges::any_of(parameters, [](Role role) { return role == Role::norm_gain; }, &ParameterInfo::role);
  testing::GradientCheckOptions options{.batch = batch,
                                        .dropout = {0.1, 0.25, 0.4, 0.3},
                                        .step = step.value_or(normed ? 0x1p-12 : 0x1p-11),
                                        .samples = 6};
  const auto report = testing::check_gradients<Stack>(options);
  INFO(report.text());
  REQUIRE(report.error <= 1e-6);
  options.step = 0x1p-13;
  require_initial_slopes<Stack, Ref<double>>(options, {});
}

}  // namespace fathom_test
