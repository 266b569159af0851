// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/testing/layer_run.hpp>

#include "support/layer_lists.hpp"
#include "support/near.hpp"

namespace repeat_test {

using namespace fathom_test;

template <class... Options>
using Stack = Repeat<7, Block<DeepNorm<1.7>>, Options...>;

template <class L>
testing::LayerRun<L> trained() {
  testing::LayerRun<L> run;
  run.pass = {Key{1}, {0.1, 0.25, 0.4, 0.3}};
  run.randomize(1);
  run.poison();
  run.forward();
  run.poison_workspace();
  run.backward();
  return run;
}

template <class... Options>
void require_bits_of_store_all() {
  static const auto expected = trained<Stack<>>();
  const auto actual = trained<Stack<Options...>>();
  REQUIRE(equal_bits(actual.y, expected.y));
  REQUIRE(equal_bits(actual.dx, expected.dx));
  REQUIRE(equal_bits(actual.gradients, expected.gradients));
}

TEST_CASE("what is recomputed gives the same bits as what is stored", "[layers]") {
  require_bits_of_store_all<StoreAll>();
  require_bits_of_store_all<Recompute<1>>();
  require_bits_of_store_all<Recompute<3>>();
  require_bits_of_store_all<Recompute<7>>();
  require_bits_of_store_all<Recompute<100>>();
  require_bits_of_store_all<RecomputeSqrt>();
}

TEST_CASE("blocks of a stack drop other elements", "[layers]") {
  // Two blocks whose weights are equal but whose masks are not: the second must not undo or repeat the first.
  using Two = Repeat<2, Residual<PlainResidual, Linear<64, 64>>>;
  testing::LayerRun<Two> run({.lengths = {1}});
  run.pass = {Key{1}, {.residual = 0.5}};
  std::ranges::fill(run.x.span(), 0.0);
  for (const ParameterInfo& info : describe<Two>())
    if (info.name.ends_with("bias")) std::fill_n(run.parameters.data() + info.offset, info.size(), 1.0);
  run.forward();
  // Every block adds 0 or 2: equal masks would leave 0 and 4 alone.
  REQUIRE(std::ranges::count(run.y.span(), 2.0) > 16);
  REQUIRE(std::ranges::count(run.y.span(), 0.0) > 4);
  REQUIRE(std::ranges::count(run.y.span(), 4.0) > 4);
}

constexpr Capacity capacity{.rows = 256, .sequences = 2, .longest = 128};
constexpr std::int64_t stream = 256 * 6 * 8;  // bytes of (rows, width) in double
constexpr std::int64_t one = saved_bytes<Block<DeepNorm<1.7>>, Double>(capacity);

// What a stack keeps: all of every block, with its output if that cannot be restored; or the inputs of segments alone.
static_assert(saved_bytes<Stack<>, Double>(capacity) == 7 * one);
static_assert(saved_bytes<Repeat<7, Block<PreNorm>>, Double>(capacity) ==
              7 * saved_bytes<Block<PreNorm>, Double>(capacity) + 6 * stream);
static_assert(saved_bytes<Stack<Recompute<1>>, Double>(capacity) == 6 * stream);
static_assert(saved_bytes<Stack<Recompute<3>>, Double>(capacity) == 2 * stream);
static_assert(saved_bytes<Stack<Recompute<7>>, Double>(capacity) == 0);
static_assert(saved_bytes<Stack<RecomputeSqrt>, Double>(capacity) == 2 * stream);
static_assert(RecomputeSqrt::segment(1) == 1 && RecomputeSqrt::segment(9) == 3 && RecomputeSqrt::segment(10) == 4 &&
              RecomputeSqrt::segment(1000) == 32);

static_assert(Layer<Stack<>> && Stack<>::depth == 7);
static_assert(parameter_count<Stack<>>() == 7 * parameter_count<Block<DeepNorm<1.7>>>());

}  // namespace repeat_test
