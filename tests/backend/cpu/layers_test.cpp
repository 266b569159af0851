// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/testing/layer_run.hpp>
#include <vector>

#include "support/layer_lists.hpp"
#include "support/require_agreement.hpp"

namespace {
using namespace fathom_test;

/// Sequences that are dealt to the threads whole, and sequences that have to be cut.
const testing::Batch dealt{.lengths = {30, 33, 29, 31}}, cut{.lengths = {70, 1, 33, 4}};

// One layer a line.
// clang-format off
using Layers = std::tuple<
  Sequence<FeedForward<6, 4>, FeedForward<6, 32, SwiGlu>, FeedForward<6, 4>, FeedForward<6, 32>>,
  Repeat<3, Block<PreNorm>, Recompute<1>>,
  Repeat<2, Block<Admin>>,
  Dlcl<3, Block<PreNorm>, Recompute<1>, RmsNorm<6>>>;
// clang-format on

TEMPLATE_LIST_TEST_CASE("layers on the CPU agree with the reference", "[cpu][threads]", Layers) {
  for (const testing::Batch& rows : {dealt, cut})
    for (const int threads : {1, 3})
      require_agreement_with_ref<TestType, Cpu<Double>>(rows, 1e-10, {.threads = threads});
}

using Decoder = Repeat<2, Sequence<Residual<PostNorm, Attention<6, 2>>, Residual<PostNorm, CrossAttention<6, 2, 5>>>>;
TEST_CASE("layers with a side input agree with the reference", "[cpu][threads]") {
  for (const int threads : {1, 3})
    require_agreement_with_ref<Decoder, Cpu<Double>>(
        {.lengths = {30, 33, 2}, .memory_lengths = {5, 40, 1}, .memory_width = 5}, 1e-10, {.threads = threads});
}

TEST_CASE("gradients have the same bits for any number of threads", "[cpu][threads]") {
  using Stack = Repeat<4, Block<DeepNorm<1.7>>, Recompute<2>>;
  for (const testing::Batch& rows : {dealt, cut}) {
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
    for (const int threads : {2, 3, 5}) REQUIRE(trained(threads) == expected);
  }
}

}  // namespace
