// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/layers/feed_forward.hpp>

#include "support/layer_lists.hpp"
#include "support/require_gradients.hpp"

namespace feed_forward_test {

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of smooth feed-forward layers agree with differences", "[layers]",
                        SmoothFeedForwardLayers) {
  require_gradients<TestType>();
}

TEMPLATE_LIST_TEST_CASE("gradients of feed-forward layers with kinks agree with differences", "[layers]",
                        KinkedFeedForwardLayers) {
  require_gradients_around_kinks<TestType>();
}

}  // namespace feed_forward_test
