// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/layers/sequence.hpp>
#include <type_traits>

#include "support/layer_lists.hpp"
#include "support/require_gradients.hpp"

namespace sequence_test {

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of compositions agree with differences", "[layers]", CompositionLayers) {
  // Without norms numbers are large, and so is what rounding leaves of their differences: a wider step divides it.
  constexpr bool without_norms = std::is_same_v<TestType, Repeat<2, Block<ReZero>>>;
  require_gradients<TestType>({.step = without_norms ? 0x1p-11 : 0x1p-12});
}

}  // namespace sequence_test
