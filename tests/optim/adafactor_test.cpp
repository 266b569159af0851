// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/optim/adafactor.hpp>

namespace adafactor_test {

using namespace fathom;

TEST_CASE("Adafactor factors each named matrix and keeps vectors whole", "[optim]") {
  using Layer = Attention<8, 2>;
  const auto tensors = Adafactor::describe_state(parameter_extent<Layer>(), describe<Layer>());
  REQUIRE(tensors.size() == 12);
  CHECK((tensors[0].name == "row.query.weight" && tensors[0].size() == 8));
  CHECK((tensors[1].name == "column.query.weight" && tensors[1].size() == 8 && tensors[1].offset == 8));
  CHECK((tensors[2].name == "row.key.weight" && tensors[2].offset == 16));
  CHECK((tensors[6].name == "second.query.bias" && tensors[6].size() == 8 && tensors[6].offset == 48));
  STATIC_REQUIRE(Adafactor::state_size<Layer>() == 4 * (8 + 8) + 4 * 8);
}

TEST_CASE("Adafactor refuses options that make no sense", "[optim]") {
  CHECK_NOTHROW(Adafactor::check({}));
  CHECK_THROWS_WITH(Adafactor::check({.decay_exponent = 0}), "Adafactor: decay_exponent must be in (0, 1]");
  CHECK_THROWS_WITH(Adafactor::check({.epsilon1 = 0}), "Adafactor: epsilon1 and epsilon2 must be positive and finite");
  CHECK_THROWS_WITH(Adafactor::check({.clip_threshold = 0}),
                    "Adafactor: clip_threshold must be positive and finite; 1e300 does not clip");
}

}  // namespace adafactor_test
