// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/optim/clip.hpp>

namespace clip_test {

using fathom::clip_scale;

TEST_CASE("clipping scales a norm down to its limit and never up", "[optim]") {
  STATIC_REQUIRE(clip_scale(4, 1) == 0.25);
  STATIC_REQUIRE(clip_scale(1, 1) == 1);
  STATIC_REQUIRE(clip_scale(0.5, 1) == 1);
  STATIC_REQUIRE(clip_scale(0, 1) == 1);
}

TEST_CASE("a limit of zero switches clipping off", "[optim]") { STATIC_REQUIRE(clip_scale(1e9, 0) == 1); }

}  // namespace clip_test
