// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/evaluate.hpp>
#include <fathom/train/trainer.hpp>
#include <vector>

#include "train/translator_models.hpp"

namespace use_average_test {

using namespace fathom_test;

TEMPLATE_TEST_CASE("the average stands in for the weights, and they come back", "[trainer]", Cpu<Single>, Cpu<Mixed>) {
  using Model = PreNormPairs<>;
  Trainer<Model, TestType, AdamW> trainer(pair_capacity, {.seed = 2, .average = 0.5}, {}, {.threads = 1});
  const ReversedPairs sampler(pair_capacity);
  text::PackedPairs packed(pair_capacity);
  sampler.fill(0, packed);
  const PairBatch batch = packed;
  {
    const auto before = values_of(trainer.weights().flat());
    const auto nothing = trainer.use_average();  // no snapshot yet
    CHECK(values_of(trainer.weights().flat()) == before);
  }
  for (int step = 0; step < 3; ++step) trainer.step(batch, 3e-3);
  const auto weights = values_of(trainer.weights().flat());
  const auto masters = values_of(trainer.masters());
  const auto average = values_of(trainer.average()->flat());
  const double evaluated = trainer.evaluate(batch).mean();
  CHECK(values_of(trainer.weights().flat()) == weights);
  {
    const auto in_use = trainer.use_average();
    CHECK(values_of(trainer.masters()) == average);
    std::vector<typename TestType::Precision::Weight> rounded;
    for (const float value : average) rounded.emplace_back(value);
    CHECK(values_of(trainer.weights().flat()) == rounded);
    CHECK(trainer.evaluate(batch).mean() == evaluated);  // which would stand in once more
    CHECK(values_of(trainer.masters()) == average);
  }
  CHECK(values_of(trainer.masters()) == masters);
  CHECK(values_of(trainer.weights().flat()) == weights);
  CHECK(values_of(trainer.average()->flat()) == average);

  Trainer<Model, TestType, AdamW> plain(pair_capacity, {.seed = 2}, {}, {.threads = 1});
  plain.masters().upload(0, average);
  plain.round_masters();
  CHECK(plain.evaluate(batch).mean() == evaluated);
}

}  // namespace use_average_test
