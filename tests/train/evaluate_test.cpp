// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <fathom/layers/dlcl.hpp>
#include <fathom/train/evaluate.hpp>
#include <vector>

#include "support/temporary_directory.hpp"
#include "train/models.hpp"

namespace evaluate_test {

using namespace fathom_test;

template <class Stack>
using ModelOf = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, Stack>;
using Block = Sequence<Residual<PreNorm, Attention<width, 2>>, Residual<PreNorm, FeedForward<width, 32>>>;

/// Three batches, the last of them short.
struct Batches {
  std::array<SomeBatch, 3> batches{SomeBatch(1), SomeBatch(2), SomeBatch(3)};
  std::array<TokenBatch, 3> views{batches[0], batches[1], batches[2]};

  Batches() {
    batches[2].rows.assign(std::vector{context, 5});
    views[2] = {batches[2].rows, std::span(batches[2].tokens).first(context + 5),
                std::span(batches[2].targets).first(context + 5)};
  }
};

template <class Model>
void check_against_trainer() {
  using B = Cpu<Double>;
  const Capacity capacity{4 * context, 4, context};
  for (const int threads : {1, 2}) {
    Batches batches;
    Trainer<Model, B, AdamW> trainer(capacity, {.seed = 5}, {}, {.threads = threads});
    const LossSums expected = trainer.evaluate(batches.views);
    const LossSums sums = evaluate(trainer.weights(), batches.views, {.threads = threads});
    CHECK(expected.targets == 2 * 4 * context + context + 5);
    CHECK(sums.targets == expected.targets);
    CHECK(sums.correct == expected.correct);
    CHECK(sums.cross_entropy == expected.cross_entropy);
  }
}

static_assert(BatchRange<std::array<TokenBatch, 3>&> && BatchRange<std::array<SomeBatch, 3>&>);
static_assert(!BatchRange<TokenBatch> && !BatchRange<std::array<int, 3>&> && !BatchRange<Batches>);

TEST_CASE("weights alone give the loss that a trainer gives", "[evaluate]") {
  check_against_trainer<SmallModel>();
  check_against_trainer<ModelOf<Repeat<5, Block>>>();
  check_against_trainer<ModelOf<Repeat<5, Block, RecomputeSqrt>>>();
  check_against_trainer<ModelOf<Dlcl<4, Block>>>();
}

TEST_CASE("an evaluation has a limit, is stopped between batches, and tells how far it is", "[evaluate]") {
  const Batches batches;
  Trainer<SmallModel, Cpu<Double>, AdamW> trainer({4 * context, 4, context}, {.seed = 5}, {}, {.threads = 1});
  const auto both = [&](const EvaluateOptions& options) {
    const Evaluation sums = evaluate(trainer.weights(), batches.views, {.threads = 1}, options);
    const Evaluation same = trainer.evaluate(batches.views, options);
    CHECK(sums.cross_entropy == same.cross_entropy);
    CHECK((sums.batches == same.batches && sums.stopped == same.stopped && sums.targets == same.targets));
    return sums;
  };
  CHECK((both({}).batches == 3 && !both({}).stopped));
  CHECK((both({.batches = 2}).targets == 2 * 4 * context && !both({.batches = 2}).stopped));
  CHECK(both({.batches = 9}).batches == 3);
  for (const std::int64_t none : {0, -1})
    CHECK_THROWS_WITH(trainer.evaluate(batches.views, {.batches = none}),
                      "evaluate: " + std::to_string(none) + " batches; give at least 1");
  std::vector<std::int64_t> told;
  const auto tell = [&](const Evaluation& so_far) { told.push_back(so_far.targets); };
  both({.progress = tell});
  CHECK(told == std::vector<std::int64_t>{48, 96, 96 + context + 5, 48, 96, 96 + context + 5});
  told.clear();
  const EvaluateOptions two{.stop = [&] { return !told.empty() && told.back() == 96; }, .progress = tell};
  const Evaluation stopped = evaluate(trainer.weights(), batches.views, {.threads = 1}, two);
  CHECK((stopped.stopped && stopped.batches == 2 && stopped.targets == 96));
  told.clear();
  CHECK((trainer.evaluate(batches.views, two).stopped && told.size() == 2));
  CHECK(both({.stop = [] { return true; }}).targets == 0);
}

TEST_CASE("a range of nothing has no loss", "[evaluate]") {
  const Weights<SmallModel, Cpu<Single>> weights(1);
  CHECK(evaluate(weights, std::vector<TokenBatch>{}).targets == 0);
}

TEST_CASE("batches that do not fit are refused", "[evaluate]") {
  const Weights<SmallModel, Cpu<Single>> weights(1);
  const auto message = [&](auto... batches) {
    return message_of<ShapeError>([&] { evaluate(weights, std::array<TokenBatch, sizeof...(batches)>{batches...}); });
  };
  const SomeBatch good(1), other(1, 3), too_long(1, 2, context + 1);
  SomeBatch unknown(1), short_of_targets(1);
  unknown.tokens[7] = vocabulary;
  short_of_targets.targets.pop_back();
  CHECK(message(TokenBatch(good)).empty());
  CHECK(message(TokenBatch(good), TokenBatch(other)).find("capacity") != std::string::npos);
  CHECK(message(TokenBatch(too_long)).find("context of 12") != std::string::npos);
  CHECK(message(TokenBatch(unknown)).find("row 7") != std::string::npos);
  CHECK(message(TokenBatch(short_of_targets)).find("47 targets for 48 rows") != std::string::npos);
  SomeBatch none(1);
  none.rows = PackedRows({48, 4, 24});  // nothing is packed, and the model's context is 12
  CHECK(message(TokenBatch(none)).find("context of 12") != std::string::npos);
  none.rows = PackedRows({48, 4, 12});
  CHECK(message(TokenBatch(none)).find("its packing holds no sequences") != std::string::npos);
  TokenBatch by_hand = good;
  by_hand.packing.capacity = {48, 4, 11};
  CHECK(message(by_hand).find("do not fit a capacity of 48 rows, 4 sequences, longest 11") != std::string::npos);
  by_hand.packing.capacity = {24, 4, 32};
  CHECK(message(by_hand).find("evaluate: a capacity of 24 rows, 4 sequences, longest 32") != std::string::npos);
}

TEST_CASE("packings that PackedRows would not make are refused", "[evaluate]") {
  const Weights<SmallModel, Cpu<Single>> weights(1);
  const std::vector<int> offsets{0, 12, 24, 36, 48}, shards = offsets, sequence_shard{0, 1, 2, 3, 4}, past(4, 0);
  const auto message = [&](auto change) {
    const SomeBatch good(1);
    TokenBatch batch = good;
    batch.packing = {batch.packing.capacity, offsets, shards, sequence_shard, {}};
    change(batch.packing);
    return message_of<ShapeError>([&] { evaluate(weights, std::array{batch}); });
  };
  CHECK(message([](Packing&) {}).empty());
  const std::vector<int> later{1, 12, 24, 36, 48}, negative{-5, 12, 24, 36, 48}, wrong{0, 12, 25, 36, 48},
      beyond{0, 12, 24, 36, 1 << 20}, more{0, 12, 24, 36, 40, 48}, swapped{0, 2, 1, 3, 4}, finer{0, 1, 2, 3, 5};
  const std::string fits = "that do not fit a capacity", own = "without the shards that belong to them";
  const auto check = [&](const std::string& part, auto change) {
    CHECK(message(change).find("batch: its packing holds ") == 0);
    CHECK(message(change).find(part + "") != std::string::npos);
  };
  check(fits, [&](Packing& packing) { packing.offsets = later; });
  check(fits, [&](Packing& packing) { packing.offsets = negative; });
  check("past rows", [&](Packing& packing) { packing.past = past; });
  check(own, [&](Packing& packing) { packing.shards = {}; });
  check(own, [&](Packing& packing) { packing.shards = packing.sequence_shard = {}; });
  check(own, [&](Packing& packing) { packing.sequence_shard = {}; });
  check(own, [&](Packing& packing) { packing.sequence_shard = packing.sequence_shard.first(4); });
  check(own, [&](Packing& packing) { packing.shards = packing.shards.first(4); });
  for (const std::vector<int>* row : {&wrong, &beyond, &more})
    check(own, [&](Packing& packing) { packing.shards = *row; });
  for (const std::vector<int>* index : {&swapped, &finer})
    check(own, [&](Packing& packing) { packing.sequence_shard = *index; });
}

}  // namespace evaluate_test
