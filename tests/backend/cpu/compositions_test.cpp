// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <tuple>
#include <vector>

#include "agreement.hpp"
#include "support/layer_lists.hpp"

namespace compositions_test {

using namespace fathom_test;

/// Those of the list, and two of layers that need more workspace than their neighbours, a narrow and a wide one.
using Layers = decltype(std::tuple_cat(
    CompositionLayers{},
    std::tuple<Sequence<FeedForward<6, 4>, FeedForward<6, 32, SwiGlu>, FeedForward<6, 4>, FeedForward<6, 32>>,
               Sequence<FeedForward<256, 4>, FeedForward<256, 32>, FeedForward<256, 4>>>{}));

TEMPLATE_LIST_TEST_CASE("compositions on the CPU agree with the reference", "[cpu][threads]", Layers) {
  for (const testing::LayerRows& rows : {dealt, cut}) require_agreement<TestType>(rows);
}

TEMPLATE_LIST_TEST_CASE("layers with a side input on the CPU agree with the reference", "[cpu][threads]",
                        MemoryLayers) {
  require_agreement<TestType>({.lengths = {30, 33, 2}, .memory_lengths = {5, 40, 1}, .memory_width = memory_width});
}

TEST_CASE("gradients have the same bits for any number of threads", "[cpu][threads]") {
  using Stack = Repeat<4, Block<DeepNorm<1.7>>, Recompute<2>>;
  const testing::LayerRows few_rows{.lengths = {4, 4, 4, 4}};
  for (const testing::LayerRows& rows : {dealt, cut, few_rows}) {
    const auto trained = [&](int threads) {
      testing::LayerRun<Stack, Cpu<Single>> run(rows, {.threads = threads});
      run.pass = {Key{1}, {0.1, 0.25, 0.4, 0.3}};
      run.randomize(1);
      run.poison();
      run.forward();
      run.poison_workspace();
      run.backward();
      std::vector<float> results;
      for (const auto* part : {&run.y, &run.dx, &run.gradients})
        results.insert(results.end(), part->span().begin(), part->span().end());
      return results;
    };
    const auto expected = trained(1);
    for (const int threads : {2, 3, 4, 5}) REQUIRE(trained(threads) == expected);
  }
}

}  // namespace compositions_test
