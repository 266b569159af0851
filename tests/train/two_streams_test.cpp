// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/text/epoch.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/train/batch_copies.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/run.hpp>
#include <tuple>
#include <vector>

#include "support/allocations.hpp"
#include "support/temporary_directory.hpp"
#include "train/translator_models.hpp"

namespace two_streams_test {

using namespace fathom_test;

template <class Model>
using PairTrainer = Trainer<Model, Cpu<>, AdamW>;
static_assert(text::Sampler<ReversedPairs>);
static_assert(BatchSource<text::Prefetch<ReversedPairs>, PairBatch>);
static_assert(!BatchSource<text::Prefetch<ReversedPairs>> && !BatchRange<text::Epoch<ReversedPairs>&>);
static_assert(BatchRange<text::Epoch<ReversedPairs>&, PairBatch>);

using Models =
    std::tuple<DeepNormPairs<RecomputeSqrt, TiedOutput>, PreNormPairs<>, OneTablePairs<TiedOutput>, T5Pairs<>>;

const TrainerOptions options{.seed = 3, .dropout = {.attention = 0.1, .residual = 0.1}, .average = 0.9};

TEMPLATE_LIST_TEST_CASE("a model of two streams that is trained from a checkpoint ends in the same bits",
                        "[checkpoint][threads]", Models) {
  using T = PairTrainer<TestType>;
  const TemporaryDirectory folder;
  const ReversedPairs sampler(pair_capacity);
  const auto run = [](T& trainer, auto& batches, std::int64_t steps) {
    for (const RunReport& report :
         TrainingRun(trainer, batches, {.steps = steps, .learning_rate = [](auto) { return 3e-3; }, .accumulate = 2}))
      REQUIRE(report.skipped.empty());
  };
  T whole(pair_capacity, options, {}, {.threads = 2});
  text::Prefetch all(sampler);
  run(whole, all, 8);

  T first(pair_capacity, options, {}, {.threads = 1});
  text::Prefetch begun(sampler);
  run(first, begun, 3);
  save_checkpoint(folder / "last", first, {.cursor = begun.cursor()});

  T second(pair_capacity, options, {}, {.threads = 3});
  text::Prefetch resumed(sampler, load_checkpoint(folder / "last", second).cursor, 0);
  run(second, resumed, 8);
  CHECK(values_of(whole.weights().flat()) == values_of(second.weights().flat()));
  CHECK(values_of(whole.optimizer_state()) == values_of(second.optimizer_state()));
  CHECK(whole.evaluate(text::Epoch(sampler)).mean() == second.evaluate(text::Epoch(sampler)).mean());
  const auto loaded = load_checkpoint_weights<TestType, Cpu<>>(folder / "last");
  CHECK(values_of(loaded.flat()) == values_of(first.average()->flat()));
}

TEST_CASE("a checkpoint of two streams names what another model has in its place", "[checkpoint]") {
  const TemporaryDirectory folder;
  PairTrainer<DeepNormPairs<>> trainer(pair_capacity, {});
  save_checkpoint(folder / "last", trainer);
  PairTrainer<PreNormPairs<>> other(pair_capacity, {});
  const auto refusal = message_of<FileError>([&] { load_checkpoint(folder / "last", other); });
  CHECK(refusal.find("/model/decoder/block/layers/0/residual") != std::string::npos);
  PairTrainer<DeepNormPairs<StoreAll, TiedOutput>> tied(pair_capacity, {});
  CHECK(message_of<FileError>([&] { load_checkpoint(folder / "last", tied); }).find("/model/logits") !=
        std::string::npos);

  PairTrainer<OneTablePairs<>> one_table(pair_capacity, {});
  save_checkpoint(folder / "one", one_table);
  PairTrainer<OneTablePairs<TiedOutput>> three_way(pair_capacity, {});
  CHECK(message_of<FileError>([&] { load_checkpoint(folder / "one", three_way); }).find("/model/logits") !=
        std::string::npos);
}

TEMPLATE_TEST_CASE("a model of two streams learns what can only be read from the source", "[trainer]", DeepNormPairs<>,
                   T5Pairs<>) {
  PairTrainer<TestType> trainer(pair_capacity, {.seed = 3}, {}, {.threads = 1});
  const ReversedPairs sampler(pair_capacity), unseen(pair_capacity, 2);
  text::Prefetch batches(sampler);
  for (const RunReport& report :
       TrainingRun(trainer, batches, {.steps = 400, .learning_rate = [](auto) { return 1e-2; }}))
    REQUIRE(report.skipped.empty());
  const double loss = trainer.evaluate(text::Epoch(unseen)).mean();
  INFO("loss " << loss << " where " << std::log(ReversedPairs::letters) << " is that of letters unseen");
  CHECK(loss < 0.5 * std::log(ReversedPairs::letters));
  CHECK(evaluate(trainer.weights(), text::Epoch(unseen), {.threads = 1}).mean() == loss);
}

TEMPLATE_LIST_TEST_CASE("the memory plan of two streams is what training allocates", "[memory_plan]", Models) {
  for (const int threads : {1, 3})
    for (const double rate : {0.0, 0.1}) {
      const TrainerOptions chosen{.seed = 3, .dropout = {rate, rate, rate, rate}, .average = rate};
      const auto plan = training_memory<TestType, Cpu<>, AdamW>(pair_capacity, threads, chosen.dropout, rate > 0);
      PairTrainer<TestType> trainer(pair_capacity, chosen, {}, {.threads = threads});
      text::PackedPairs batch(pair_capacity);
      ReversedPairs(pair_capacity).fill(0, batch);
      trainer.step(batch);
      CHECK(trainer.allocated_bytes() == plan.total());
#ifndef FATHOM_USE_BLAS  // OpenBLAS takes memory of its own for products as small as these
      const long before = allocated_bytes;
      trainer.step(batch);
      if (allocations_are_counted) CHECK(allocated_bytes == before);
#endif
    }
}

TEST_CASE("batches of pairs that a model cannot read are refused", "[trainer]") {
  PairTrainer<DeepNormPairs<>> trainer(pair_capacity, {});
  text::PackedPairs owned(pair_capacity);
  ReversedPairs(pair_capacity).fill(0, owned);
  const PairBatch good = owned;
  const auto refusal = [&](const PairBatch& batch) { return message_of<ShapeError>([&] { trainer.evaluate(batch); }); };
  CHECK(refusal(good).empty());

  std::vector<int> tokens(good.source.tokens.begin(), good.source.tokens.end());
  tokens[4] = ReversedPairs::begin;  // of the target alone
  CHECK(refusal({{good.source.packing, tokens}, good.target}).find("source: row 4") != std::string::npos);
  tokens.pop_back();
  CHECK(refusal({{good.source.packing, tokens}, good.target}).find("tokens for") != std::string::npos);

  text::PackedPairs fewer(pair_capacity), wider({{40, 8, 5}, {48, 8, 7}});
  const std::vector<int> pair{1, 2, 3};
  fewer.append<int>(pair, pair, ReversedPairs::end);
  fewer.pack();
  CHECK(refusal({good.source, PairBatch(fewer).target}).find("each source has one target") != std::string::npos);
  wider.append<int>(pair, pair, ReversedPairs::end);
  wider.pack();
  CHECK(refusal(wider).find("batch: source: a capacity of 40 rows, 8 sequences, longest 5") != std::string::npos);

  const auto planned = [](const PairCapacity& capacity) {
    return message_of<ShapeError>([&] { PairTrainer<DeepNormPairs<>>(capacity, TrainerOptions{}); });
  };
  CHECK(planned({{40, 8, 6}, {48, 7, 7}}).find("each source has one target") != std::string::npos);
  CHECK(planned({{40, 8, 7}, {48, 8, 7}}).find("context of 6") != std::string::npos);
  CHECK(planned({{40, 8, 6}, {48, 8, 8}}).find("context of 7") != std::string::npos);
  Capacity reading{48, 8, 7};
  reading.forward_only = true;
  CHECK(planned({{40, 8, 6}, reading}).find("both sides or for none") != std::string::npos);
}

TEST_CASE("copies of pairs outlive their batches", "[train]") {
  BatchCopies<PairBatch> copies(1);
  std::vector<int> source, target;
  {
    text::PackedPairs owned(pair_capacity);
    ReversedPairs(pair_capacity).fill(3, owned);
    const PairBatch batch = owned;
    source.assign(batch.source.tokens.begin(), batch.source.tokens.end());
    target.assign(batch.target.targets.begin(), batch.target.targets.end());
    copies.set(0, batch);
  }
  const PairBatch& copy = copies.batches()[0];
  CHECK(copy.capacity() == pair_capacity);
  CHECK(std::ranges::equal(copy.source.tokens, source));
  CHECK(std::ranges::equal(copy.target.targets, target));
  check_batch(copy, pair_capacity, ReversedPairs::source_vocabulary, ReversedPairs::target_vocabulary);
}

}  // namespace two_streams_test
