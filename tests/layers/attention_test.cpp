// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/layers/attention.hpp>
#include <vector>

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
  using P = Double;
  constexpr int length = 6;
  testing::LayerRun<TestType> whole({.lengths = {length, length}});
  whole.randomize(1);
  whole.forward();

  // The same rows in steps of 3, 1 and 2, the second sequence one row ahead after the first step.
  const std::vector<std::vector<int>> steps = {{3, 4}, {1, 1}, {2, 1}};
  PackedRows packed({8, 2, 4});
  Context<Ref<double>> context;
  Buffer<std::byte> cache(2 * 2 * length * TestType::kv_width * 8 + 2 * alignment);
  Buffer<std::byte> saved_memory(saved_bytes<TestType, P>(packed.capacity()));
  context.reserve({.workspace = 1_MiB});
  Buffer<double> x(8 * 8), y(8 * 8);
  std::vector<int> past = {0, 0};
  for (const std::vector<int>& rows : steps) {
    packed.assign(rows, past);
    const auto place = [&](int s, int row) { return (s * length + past[std::size_t(s)] + row) * 8; };
    for (int s = 0, n = 0; s < 2; ++s)
      for (int row = 0; row < rows[std::size_t(s)]; ++row, ++n)
        std::copy_n(whole.x.data() + place(s, row), 8, x.data() + n * 8);
    context.run(packed, Pass{}, [&](auto& worker) {
      Memory slabs = cache.memory(), memory = saved_memory.memory();
      Flow<P> flow;
      flow.cache = &slabs, flow.cache_length = length;
      auto saved = TestType::template Saved<P>::take(memory, packed.capacity());
      TestType::forward(worker, bind_parameters<TestType, const double>(whole.parameters.data()), flow,
                        Rows<const double, 8>(x.data(), packed.rows()), Rows<double, 8>(y.data(), packed.rows()),
                        saved);
    });
    for (int s = 0, n = 0; s < 2; ++s)
      for (int row = 0; row < rows[std::size_t(s)]; ++row, ++n)
        for (int c = 0; c < 8; ++c) REQUIRE(std::abs(y.data()[n * 8 + c] - whole.y.data()[place(s, row) + c]) < 1e-14);
    for (std::size_t s = 0; s < 2; ++s) past[s] += rows[s];
  }
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
