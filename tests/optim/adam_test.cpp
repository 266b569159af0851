// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <cmath>
#include <fathom/optim/adam.hpp>

namespace adam_test {

using namespace fathom;

TEST_CASE("Adam refuses options that make no sense", "[optim]") {
  CHECK_NOTHROW(AdamW::check({}));
  CHECK_THROWS_WITH(AdamW::check({.beta1 = 1}), "AdamW: beta1 must be in [0, 1)");
  CHECK_THROWS_WITH(Adam::check({.beta2 = std::nan("")}), "Adam: beta2 must be in [0, 1)");
  CHECK_THROWS_WITH(AdamW::check({.epsilon = 0}), "AdamW: epsilon must be positive and finite");
  CHECK_THROWS_WITH(AdamW::check({.learning_rate = -1}), "AdamW: learning_rate must be finite and not negative");
  CHECK_THROWS_WITH(AdamW::check({.weight_decay = -1}), "AdamW: weight_decay must be finite and not negative");
}

}  // namespace adam_test
