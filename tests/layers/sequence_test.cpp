// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/layers/sequence.hpp>

#include "support/layer_lists.hpp"
#include "support/require_gradients.hpp"

namespace sequence_test {

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of compositions agree with differences", "[layers]", CompositionLayers) {
  require_gradients<TestType>({.step = 0x1p-11});  // what rounding leaves is larger than in a layer alone
}

}  // namespace sequence_test
