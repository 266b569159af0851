// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/testing/row_check.hpp>

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

TEMPLATE_TEST_CASE("packed sequences do not see each other", "[layers]", (Attention<8, 2>),
                   (Attention<8, 2, Full, Rotary<>>)) {
  testing::LayerRun<TestType> packed({.lengths = {5, 1, 7}});
  packed.randomize(1);
  packed.forward();
  int first = 0;
  for (const int length : {5, 1, 7}) {
    testing::LayerRun<TestType> alone({.lengths = {length}});
    std::ranges::copy(packed.parameters.span(), alone.parameters.data());
    std::copy_n(packed.x.data() + first * 8, length * 8, alone.x.data());
    alone.forward();
    REQUIRE(std::equal(alone.y.data(), alone.y.data() + length * 8, packed.y.data() + first * 8));
    first += length;
  }
}

TEMPLATE_TEST_CASE("attention with a key/value cache continues where it stopped", "[layers]", (Attention<8, 2>),
                   (Attention<8, 4, Causal, KeyValueHeads<2>, Rotary<>>), (Attention<8, 2, Causal, SaveAll>)) {
  REQUIRE(testing::check_cache<TestType>({.lengths = {6, 4, 6}}).error <= 1e-14);
}

// What is saved grows with the rows, never with their square.
constexpr std::int64_t saved_for(int length) {
  return saved_bytes<Attention<8, 2>, Double>({.rows = length, .sequences = 1, .longest = length});
}
static_assert(saved_for(4096) == 4 * saved_for(1024));

template <class L>
constexpr std::int64_t saved_widths() {  // in rows of a model's width
  constexpr int rows = 1024;
  return saved_bytes<L, Single>({.rows = rows, .sequences = 1, .longest = rows}) /
         (std::int64_t(rows) * L::output_width * 4);
}
static_assert(saved_widths<Attention<64, 4>>() == 2);
static_assert(saved_widths<Attention<64, 4, Causal, SaveAll>>() == 4);

static_assert(Attention<12, 6, Causal, KeyValueHeads<2>>::fused_width == 12 + 2 * 4);
static_assert(parameter_count<Attention<8, 2>>() == 4 * (8 * 8 + 8));
static_assert(parameter_count<Attention<8, 2, Causal, NoBias>>() == 4 * 8 * 8);
static_assert(parameter_count<CrossAttention<8, 2, 5>>() == 2 * (8 * 8 + 8) + 2 * (8 * 5 + 8));

}  // namespace
