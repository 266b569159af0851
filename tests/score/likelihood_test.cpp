// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cmath>
#include <cstddef>
#include <fathom/score/likelihood.hpp>
#include <fathom/score/unigram.hpp>

namespace likelihood_test {

using namespace fathom;
using Catch::Matchers::WithinRel;

TEST_CASE("a uniform guess has the perplexity of its choices, and as many bits", "[score]") {
  CHECK_THAT(score::perplexity(5 * std::log(32.0), 5), WithinRel(32, 1e-14));
  CHECK_THAT(score::bits_per(5 * std::log(32.0), 5), WithinRel(5, 1e-14));
  CHECK(score::perplexity(0, 1) == 1);
  CHECK_THROWS_AS(score::perplexity(1, 0), Error);
  CHECK_THROWS_AS(score::bits_per(1, 0), Error);
}

TEST_CASE("the unigram model knows frequencies, and of each token that it may come", "[score]") {
  score::Unigram model(4);
  CHECK_THAT(model.loss(3), WithinRel(std::log(4.0), 1e-14));
  for (const std::size_t token : {1, 1, 2}) model.add(token);
  model.add(2, 0.5);
  CHECK_THAT(model.loss(1), WithinRel(-std::log(3 / 7.5), 1e-14));
  CHECK_THAT(model.loss(2), WithinRel(-std::log(2.5 / 7.5), 1e-14));
  CHECK_THAT(model.loss(0), WithinRel(-std::log(1 / 7.5), 1e-14));
}

TEST_CASE("characters are code points", "[score]") {
  static_assert(score::characters("aä日😀") == 4);
  CHECK(score::characters("") == 0);
}

}  // namespace likelihood_test
