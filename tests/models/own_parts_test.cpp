// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/testing/gradient_check.hpp>
#include <fathom/testing/row_check.hpp>
#include <fathom/train/trainer.hpp>
#include <vector>

#include "../../examples/own_layer.hpp"
#include "../../examples/own_policy.hpp"
#ifndef FATHOM_TEST_FAR  // the check of gradients reads the host's memory
#include "support/require_gradients.hpp"
#endif

namespace own_parts_test {

/// The examples of docs/adding_a_policy.md and docs/adding_a_layer.md.
using namespace fathom;

#ifndef FATHOM_TEST_FAR
TEST_CASE("the layer of the guide has the gradients of differences, and rows that see themselves", "[guide]") {
  fathom_test::require_gradients<my::LowRank<6, 3>>();
  REQUIRE(testing::seen_rows<my::LowRank<6, 3>>() == Sees::itself);
}

TEST_CASE("the policy of the guide has the gradients of differences", "[guide]") {
  fathom_test::require_gradients<
      Repeat<2, ResidualBlock<my::DepthScaled, LayerNorm<4>, Attention<4, 2>, my::LowRank<4, 3>>>>();
}
#endif

TEST_CASE("a model of the guide's policy and layer learns", "[guide]") {
  constexpr int context = 8, vocabulary = 11;
  using Block = ResidualBlock<my::DepthScaled, LayerNorm<16>, Attention<16, 2>, my::LowRank<16, 8>>;
  using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, Repeat<3, Block>>;
  const PackedRows rows = PackedRows::uniform(2, context);
  std::vector<int> tokens, targets;
  for (int i = 0; i < 2 * context; ++i)
    tokens.push_back(i * i % vocabulary), targets.push_back((i + 1) * (i + 1) % vocabulary);
  Trainer<Model, Cpu<>, AdamW> trainer(rows.capacity(), {}, {}, {.threads = 1});
  const TokenBatch batch{rows, tokens, targets};
  const double first = trainer.step(batch, 1e-2).loss;
  for (int step = 0; step < 100; ++step) trainer.step(batch, 1e-2);
  const double last = trainer.evaluate(batch).mean();
  INFO(first << " to " << last);
  REQUIRE(last < 0.2 * first);
}

}  // namespace own_parts_test
