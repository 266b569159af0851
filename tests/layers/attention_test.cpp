// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/testing/row_check.hpp>

#include "support/layer_lists.hpp"
#include "support/require_gradients.hpp"

namespace attention_test {

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
                   (Attention<8, 4, Causal, KeyValueHeads<2>, Rotary<>>), (Attention<8, 2, Causal, SaveAll>),
                   (Attention<8, 4, Causal, KeyValueHeads<2>, RelativePositions<6, 5>>)) {
  REQUIRE(testing::check_cache<TestType>({.lengths = {6, 4, 6}}).error <= 1e-14);
}

// Where T5's buckets begin, by T5's own function: tests/reference/formulas.py has it.
static_assert(RelativeBuckets<RelativePositions<>, false>::starts ==
              std::array{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91});
static_assert(RelativeBuckets<RelativePositions<>, true>::starts ==
              std::array{0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                         16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113});
static_assert(RelativeBuckets<RelativePositions<2, 2>, true>::starts == std::array{0, 1});

// A bias is added in both passes, and its gradient summed: three operations for each of 36 pairs and 2 heads.
template <class L>
constexpr double flops_of() {
  return dry_run<Cpu<>>(Capacity{8, 1, 8}, {},
                        [](auto& worker) {
                          using P = Single;
                          Arena arena;
                          auto saved = L::template Saved<P>::take(arena, worker.packing().capacity);
                          L::forward(worker, {}, Flow<P>{}, {nullptr, 8}, {nullptr, 8}, saved);
                          L::backward(worker, {}, {}, Flow<P>{}, {nullptr, 8}, saved, {nullptr, 8}, {nullptr, 8}, {});
                        })
      .flops;
}
static_assert(flops_of<Attention<8, 2, Causal, RelativePositions<>>>() == flops_of<Attention<8, 2>>() + 3 * 36 * 2);

// What is saved grows with the rows, never with their square.
constexpr std::int64_t saved_for(int length) {
  return saved_bytes<Attention<8, 2>, Double>({.rows = length, .sequences = 1, .longest = length});
}
static_assert(saved_for(4096) == 4 * saved_for(1024));

template <class L>
constexpr std::int64_t saved_widths(bool saves_all) {  // in rows of a model's width
  constexpr int rows = 1024;
  return saved_bytes<L, Single>(saving({.rows = rows, .sequences = 1, .longest = rows}, saves_all)) /
         (std::int64_t(rows) * L::output_width * 4);
}
static_assert(saved_widths<Attention<64, 4>>(false) == 2);
static_assert(saved_widths<Attention<64, 4>>(true) == 4);
static_assert(saved_widths<Attention<64, 4, Causal, SaveAll>>(false) == 4);
static_assert(saved_widths<Attention<64, 4, Causal, SaveAll>>(true) == 4);

static_assert(Attention<12, 6, Causal, KeyValueHeads<2>>::fused_width == 12 + 2 * 4);
static_assert(parameter_count<Attention<8, 2>>() == 4 * (8 * 8 + 8));
static_assert(parameter_count<Attention<8, 2, Causal, NoBias>>() == 4 * 8 * 8);
static_assert(parameter_count<Attention<8, 2, Causal, NoBias, RelativePositions<32>>>() == 4 * 8 * 8 + 2 * 32);
static_assert(parameter_count<CrossAttention<8, 2, 5>>() == 2 * (8 * 8 + 8) + 2 * (8 * 5 + 8));

}  // namespace attention_test
