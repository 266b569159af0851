// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <tuple>

#include "support/layer_lists.hpp"
#include "support/policy_lists.hpp"
#include "support/require_agreement.hpp"

namespace layers_test {

using namespace fathom_test;

using Layers = decltype(std::tuple_cat(LinearLayers{}, NormLayers{}, AttentionLayers{}, SmoothFeedForwardLayers{},
                                       KinkedFeedForwardLayers{}, ResidualLayers{}, CompositionLayers{}));

constexpr cuda::Options device{.workspace = 1_MiB};

/// Floats against doubles: relative to each number, and to the largest of the tensor where it is below a hundredth of
/// that.
template <class L>
void require_agreement(const testing::LayerRows& rows) {
  require_agreement_with_ref<L, Cuda<Single>>(rows, 1e-3, device);
}
/// Relative to the largest of the tensor: where no norm bounds nine sublayers, small numbers are differences of large
/// ones, and floats are off by a hundredth on the CPU too.
template <class L>
void require_stack_agreement(const testing::LayerRows& rows) {
  require_agreement_with_ref<L, Cuda<Single>>(rows, 1e-2, device, 1);
}

TEMPLATE_LIST_TEST_CASE("layers on the device agree with the reference", "[cuda]", Layers) {
  require_agreement<TestType>({.lengths = {9, 1, 12}});
}

TEMPLATE_LIST_TEST_CASE("layers with a side input on the device agree with the reference", "[cuda]", MemoryLayers) {
  require_agreement<TestType>({.lengths = {6, 9, 2}, .memory_lengths = {5, 11, 1}, .memory_width = memory_width});
}

TEMPLATE_LIST_TEST_CASE("policies on the device agree with the reference", "[cuda]", PolicyCases) {
  constexpr int width = 8;
  require_stack_agreement<DecoderOnlyStack<TestType, width>>({.lengths = {5, 3}});
  require_stack_agreement<DecoderStack<TestType, width>>(
      {.lengths = {5, 3}, .memory_lengths = {4, 6}, .memory_width = width});
}

}  // namespace layers_test
