// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <fathom/layers/attention.hpp>

#include "support/layer_lists.hpp"
#include "support/require_gradients.hpp"

namespace {
using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of self-attention agree with differences", "[layers]", AttentionLayers) {
  require_gradients<TestType>();
}

TEMPLATE_LIST_TEST_CASE("gradients of layers with a side input agree with differences", "[layers]", MemoryLayers) {
  require_gradients_with_memory<TestType>(memory_width);
}

}  // namespace
