// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/layers/norm.hpp>

#include "support/layer_lists.hpp"
#include "support/require_gradients.hpp"

namespace norm_test {

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of norms agree with differences", "[layers]", NormLayers) {
  require_gradients<TestType>();
}

}  // namespace norm_test
