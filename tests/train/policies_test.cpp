// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/generate/inference.hpp>
#include <fathom/generate/pair_inference.hpp>
#include <fathom/layers/dlcl.hpp>
#include <fathom/layers/stacks.hpp>
#include <fathom/models/batch_outputs.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/checkpoint.hpp>
#include <fathom/train/trainer.hpp>
#include <span>
#include <string>
#include <vector>

#include "support/policy_lists.hpp"
#include "support/temporary_directory.hpp"
#include "train/models.hpp"
#include "train/translator_models.hpp"

namespace policies_test {

/// What trainers and generators do with a model, under each policy.
using namespace fathom_test;

using B = Ref<double>;
constexpr int stream_width = 8;
constexpr Capacity capacity{2 * context, 2, context};

template <class Case>
using Alone = LanguageModel<Vocabulary<vocabulary>, ContextLength<context>, DecoderOnlyStack<Case, stream_width>>;
template <class Case>
using Pairs = PairModel<EncoderStack<Case, stream_width>, DecoderStack<Case, stream_width>>;

/// Trains, stops behind the second of four updates, and goes on from its checkpoint; returns the trainer.
template <class Model>
Trainer<Model, B, AdamW> resumed(const typename Model::Capacity& of_batches, auto&& batch) {
  const TemporaryDirectory folder(fastest_folder());
  const TrainerOptions options{.dropout = {0.1, 0.1, 0.1, 0.1}};
  const auto train = [&](auto& trainer, int from, int to) {
    for (int step = from; step < to; ++step) trainer.step(batch(step), 1e-2);
  };
  Trainer<Model, B, AdamW> whole(of_batches, options), begun(of_batches, options), rest(of_batches, options);
  whole.profile(batch(0)), begun.profile(batch(0));
  train(whole, 0, 4);
  train(begun, 0, 2);
  save_checkpoint(folder / "checkpoint", begun);
  load_checkpoint(folder / "checkpoint", rest);
  train(rest, 2, 4);
  CHECK(values_of(rest.masters()) == values_of(whole.masters()));
  CHECK(values_of(rest.optimizer_state()) == values_of(whole.optimizer_state()));
  return rest;
}

double distance(std::span<const double> a, const double* b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

TEMPLATE_LIST_TEST_CASE(
    "a language model resumes to the same bits and generates with a cache, under each kind of policy", "[policies]",
    PolicyKinds) {
  INFO(TestType::InStack::name);
  const auto trainer = resumed<Alone<TestType>>(capacity, [](int step) { return SomeBatch(std::uint64_t(step), 2); });
  const SomeBatch text(9, 1);
  const auto outputs = batch_outputs(trainer.weights(), text);
  Inference inference(trainer.weights(), {.sequences = 1, .pass = 4, .length = context});
  int read = 0;
  for (const int count : {4, 1, 1, 2, 1}) {
    const std::array piece{std::span<const int>(text.tokens).subspan(std::size_t(read), std::size_t(count))};
    inference.append(piece);
    read += count;
    CHECK(distance(inference.logits(0), outputs.logits.view().row(read - 1)) < 1e-12);
  }
}

template <class Model>
void check_pairs() {
  text::PackedPairs packed(pair_capacity);
  const auto trainer = resumed<Model>(pair_capacity, [&](int step) {
    ReversedPairs(pair_capacity).fill(step, packed);
    return PairBatch(packed);
  });
  PackedRows sources = PackedRows::uniform(1, 4), targets = PackedRows::uniform(1, 5);
  const std::vector<int> source{3, 1, 2, 4}, target{2, 4, 1, 3, 2};
  const auto outputs = batch_outputs(trainer.weights(), PairBatch({sources, source}, {targets, target, target}));
  PairInference inference(trainer.weights(), {.sentences = 1, .hypotheses = 1, .source = 4, .target = 5});
  const std::array sentence{std::span<const int>(source)};
  inference.start(sentence);
  for (std::size_t i = 0; i < target.size(); ++i) {
    inference.step(std::span(target).subspan(i, 1));
    CHECK(distance(inference.logits(0), outputs.logits.view().row(int(i))) < 1e-12);
  }
}

TEMPLATE_LIST_TEST_CASE("a translator resumes to the same bits and decodes with caches, under each kind of policy",
                        "[policies]", PolicyKinds) {
  INFO(TestType::InEncoder::name << ", " << TestType::InDecoder::name);
  check_pairs<Pairs<TestType>>();
}

template <class Policy>
using Seeing = PolicyBlock<Policy, stream_width, Full>;
template <class Policy>
using Reading = PolicyDecoderBlock<Policy, stream_width>;

TEST_CASE("so does one of stacks that sum up all layers before, or begin by another rule", "[policies]") {
  check_pairs<PairModel<Dlcl<2, Seeing<PreNorm>>, Dlcl<2, Reading<PreNorm>>>>();
  check_pairs<PairModel<KeelStack<2, Seeing>, KeelStack<2, Reading>>>();
}

}  // namespace policies_test
