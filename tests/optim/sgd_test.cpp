// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <fathom/optim/sgd.hpp>

namespace sgd_test {

using namespace fathom;

TEST_CASE("SGD refuses options that make no sense", "[optim]") {
  CHECK_THROWS_WITH(Sgd::check({.learning_rate = -1}), "Sgd: learning_rate must be finite and not negative");
  CHECK_THROWS_WITH(MomentumSgd::check({.momentum = 1}), "MomentumSgd: momentum must be in [0, 1)");
}

}  // namespace sgd_test
