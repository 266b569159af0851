// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <fathom/optim/lion.hpp>

namespace lion_test {

using namespace fathom;

TEST_CASE("Lion refuses options that make no sense", "[optim]") {
  CHECK_THROWS_WITH(Lion::check({.beta1 = -0.1}), "Lion: beta1 must be in [0, 1)");
  CHECK_THROWS_WITH(Lion::check({.beta2 = 1}), "Lion: beta2 must be in [0, 1)");
}

}  // namespace lion_test
