// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/batch_outputs.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "train/models.hpp"
#include "train/translator_models.hpp"

namespace batch_outputs_test {

using namespace fathom_test;

constexpr Capacity capacity{4 * context, 4, context};

/// Mean cross-entropy of logits.
double loss_of(const Matrix<const double>& logits, std::span<const int> targets) {
  double sum = 0;
  for (int row = 0; row < logits.rows; ++row) {
    double all = 0;
    for (int v = 0; v < logits.columns; ++v) all += std::exp(logits.row(row)[v]);
    sum += std::log(all) - logits.row(row)[targets[std::size_t(row)]];
  }
  return sum / logits.rows;
}

TEMPLATE_TEST_CASE("a model's logits and states of all positions are those that its loss is made of", "[trainer]",
                   PolicyModel<PreNorm>, SmallModel) {
  Trainer<TestType, Cpu<Double>, AdamW> trainer(capacity, {}, {}, {.threads = 2});
  const SomeBatch batch(1);
  trainer.step(batch, 1e-2);
  const auto outputs = batch_outputs(trainer.weights(), batch);
  REQUIRE(outputs.blocks.size() == depth);
  for (std::size_t i = 0; i < outputs.blocks.size(); ++i) {
    CHECK(outputs.blocks[i].name == "blocks." + std::to_string(i));
    CHECK(outputs.blocks[i].rows == 4 * context);
    CHECK(outputs.blocks[i].columns == width);
    CHECK(outputs.blocks[i].values.size() == std::size_t(4 * context * width));
    if (i > 0) CHECK(outputs.blocks[i].values != outputs.blocks[i - 1].values);
  }
  if constexpr (std::is_same_v<TestType, SmallModel>)  // a post-norm: nothing stands between the stack and the output
    CHECK(outputs.hidden.values == outputs.blocks.back().values);
  CHECK(outputs.logits.columns == vocabulary);
  CHECK(std::abs(loss_of(outputs.logits.view(), batch.targets) - trainer.evaluate(batch).mean()) < 1e-12);
}

TEST_CASE("a translator's states are those of both stacks", "[trainer]") {
  Trainer<DeepNormPairs<>, Cpu<Double>, AdamW> trainer(pair_capacity, {}, {}, {.threads = 1});
  text::PackedPairs packed(pair_capacity);
  ReversedPairs(pair_capacity).fill(0, packed);
  const PairBatch batch(packed);
  const auto outputs = batch_outputs(trainer.weights(), batch);
  REQUIRE(outputs.blocks.size() == encoder_depth + decoder_depth);
  CHECK(outputs.blocks.front().name == "encoder.blocks.0");
  CHECK(outputs.blocks.front().rows == batch.source.packing.rows());
  CHECK(outputs.blocks.back().name == "decoder.blocks." + std::to_string(decoder_depth - 1));
  CHECK(outputs.blocks.back().rows == batch.target.packing.rows());
  std::vector<int> targets(batch.target.targets.begin(), batch.target.targets.end());
  CHECK(std::abs(loss_of(outputs.logits.view(), targets) - trainer.evaluate(batch).mean()) < 1e-12);
}

TEST_CASE("states of mixed precision are those of floats, up to rounding", "[trainer]") {
  Trainer<SmallModel, Cpu<Mixed>, AdamW> mixed(capacity, {}, {}, {.threads = 1});
  Trainer<SmallModel, Cpu<Single>, AdamW> floats(capacity, {}, {}, {.threads = 1});
  const SomeBatch batch(1);
  const auto actual = batch_outputs(mixed.weights(), batch);
  const auto expected = batch_outputs(floats.weights(), batch);
  for (std::size_t block = 0; block < depth; ++block)
    for (std::size_t i = 0; i < expected.blocks[block].values.size(); ++i)
      REQUIRE(std::abs(actual.blocks[block].values[i] - expected.blocks[block].values[i]) < 0.1);
}

TEST_CASE("a loss with dropout is that of the next step, and changes nothing", "[trainer]") {
  const TrainerOptions options{.dropout = {0.2, 0.2, 0.2, 0.2}, .clip_norm = 0};
  Trainer<SmallModel, Cpu<Double>, AdamW> asked(capacity, options, {}, {.threads = 1}),
      plain(capacity, options, {}, {.threads = 1});
  for (std::uint64_t step = 0; step < 3; ++step) {
    const SomeBatch batch(step);
    const double loss = asked.loss_with_dropout(batch).mean();
    CHECK(loss != asked.evaluate(batch).mean());
    CHECK(loss == asked.loss_with_dropout(batch).mean());
    CHECK(std::abs(asked.step(batch, 1e-2).cross_entropy - loss) < 1e-12);
    plain.step(batch, 1e-2);
  }
  CHECK(values_of(asked.masters()) == values_of(plain.masters()));
}

TEST_CASE("a batch that a model does not take has no outputs", "[trainer]") {
  const Trainer<SmallModel, Cpu<Double>, AdamW> trainer(capacity, {});
  CHECK_THROWS_AS(batch_outputs(trainer.weights(), SomeBatch(1, 1, context + 1)), ShapeError);
}

}  // namespace batch_outputs_test
