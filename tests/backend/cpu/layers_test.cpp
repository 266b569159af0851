// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <tuple>

#include "agreement.hpp"
#include "support/layer_lists.hpp"

namespace layers_test {

using namespace fathom_test;

using Layers = decltype(std::tuple_cat(LinearLayers{}, NormLayers{}, AttentionLayers{}, SmoothFeedForwardLayers{},
                                       KinkedFeedForwardLayers{}, ResidualLayers{}));

TEMPLATE_LIST_TEST_CASE("layers on the CPU agree with the reference", "[cpu][threads]", Layers) {
  for (const testing::LayerRows& rows : {dealt, cut}) require_agreement<TestType>(rows);
}

}  // namespace layers_test
