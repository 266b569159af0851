// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <tuple>

#include "support/layer_lists.hpp"
#include "support/policy_lists.hpp"
#include "support/require_agreement.hpp"

namespace {
using namespace fathom_test;

using Layers = decltype(std::tuple_cat(LinearLayers{}, NormLayers{}, AttentionLayers{}, SmoothFeedForwardLayers{},
                                       KinkedFeedForwardLayers{}, ResidualLayers{}, CompositionLayers{}));

/// Relative, and of what is below a hundredth of the largest: floats against doubles. Stacks without norms have products
/// of six layers' scales in their gradients.
constexpr double layer_tolerance = 1e-3, stack_tolerance = 1e-2;

template <class L>
void require_agreement(const testing::LayerRows& rows, double tolerance = layer_tolerance) {
  require_agreement_with_ref<L, Cuda<Single>>(rows, tolerance, {.workspace = 1_MiB});
}

TEMPLATE_LIST_TEST_CASE("layers on the device agree with the reference", "[cuda]", Layers) {
  require_agreement<TestType>({.lengths = {9, 1, 12}});
}

TEMPLATE_LIST_TEST_CASE("layers with a side input on the device agree with the reference", "[cuda]", MemoryLayers) {
  require_agreement<TestType>({.lengths = {6, 9, 2}, .memory_lengths = {5, 11, 1}, .memory_width = memory_width});
}

TEMPLATE_LIST_TEST_CASE("policies on the device agree with the reference", "[cuda]", PolicyCases) {
  constexpr int width = 8;
  require_agreement<Repeat<stack_depth, PolicyBlock<typename TestType::InStack, width, Causal>>>({.lengths = {5, 3}},
                                                                                                stack_tolerance);
  require_agreement<Repeat<stack_depth, PolicyDecoderBlock<typename TestType::InDecoder, width>>>(
      {.lengths = {5, 3}, .memory_lengths = {4, 6}, .memory_width = width}, stack_tolerance);
}

}  // namespace
