// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/layers/linear.hpp>

#include "support/layer_lists.hpp"
#include "support/require_gradients.hpp"

namespace linear_test {

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of linear layers agree with differences", "[layers]", LinearLayers) {
  require_gradients<TestType>();
}

}  // namespace linear_test
