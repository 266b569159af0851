// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/testing/gradient_check.hpp>

#include "support/policy_lists.hpp"
#include "support/require_gradients.hpp"

namespace fathom_test {

inline constexpr int width = 4;

/// With dropout, at random parameters and at the initial ones.
template <class Stack>
void require_gradients_of_stack(const testing::LayerRows& batch) {
  testing::GradientCheckOptions options{.batch = batch, .dropout = {0.1, 0.25, 0.4, 0.3}, .samples = 6};
  const auto report = testing::check_gradients<Stack>(options);
  INFO(report.text());
  REQUIRE(report.error <= 1e-6);
  options.step /= 2;  // slopes along whole tensors bend more, and are larger than what rounding leaves
  require_initial_slopes<Stack, Ref<double>>(options, {});
}

}  // namespace fathom_test
