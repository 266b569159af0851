// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/text/masking.hpp>
#include <fathom/text/packed_documents.hpp>
#include <fathom/text/prefetch.hpp>
#include <fathom/train/trainer.hpp>
#include <vector>

namespace masked_language_model_test {

using namespace fathom;

constexpr int letters = 12, mask = letters, context = 24;
using Model = MaskedLanguageModel<Vocabulary<letters + 1>, ContextLength<context>, deepnet::EncoderOnly<2, 32, 2>>;
using Machine = Cpu<>;

/// Documents of these letters in their order, over and over from any letter on: who sees a neighbour knows the token.
text::Corpus<std::uint8_t> alphabets() {
  text::Corpus<std::uint8_t> corpus;
  const Philox random(Key{11});
  for (std::uint64_t document = 0; document < 200; ++document) {
    const auto bits = random(document);
    std::vector<std::uint8_t> text(8 + bits[0] % 33);
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::uint8_t>((bits[1] + i) % letters);
    corpus.append(text);
  }
  return corpus;
}

TEST_CASE("a masked language model learns a text from both sides", "[models]") {
  const auto corpus = alphabets();
  const text::PackedDocuments documents(corpus, {.rows = 6 * context, .sequences = 12, .length = context});
  const text::Masked sampler(documents, {.vocabulary = letters, .mask = mask});
  text::Prefetch batches(sampler, 0, 0);
  Trainer<Model, Machine, AdamW> trainer(sampler.capacity(), {}, {}, {.threads = 1});
  text::PackedTokens unseen(sampler.capacity());
  sampler.fill(1'000'000, unseen);
  const double before = trainer.evaluate(unseen).mean();
  CHECK(std::abs(before - std::log(letters + 1)) < 0.7);  // it knows nothing
  for (int step = 0; step < 1000; ++step) trainer.step(batches.next(), 3e-3);
  CHECK(trainer.evaluate(unseen).mean() < 0.5);
}

TEST_CASE("a document does not see those that are packed with it", "[models]") {
  const Capacity capacity{20, 3, 9};
  Trainer<Model, Machine, AdamW> trainer(capacity, {}, {}, {.threads = 1});
  PackedRows rows(capacity);
  rows.assign(std::vector{6, 9, 5});
  std::vector<int> tokens(20), targets(20, text::no_target);
  for (int i = 0; i < 20; ++i) tokens[static_cast<std::size_t>(i)] = i % letters;
  targets[8] = 3;  // in the second
  const auto loss = [&] { return trainer.evaluate(TokenBatch{rows, tokens, targets}).mean(); };
  const double first = loss();
  for (const std::size_t elsewhere : {0, 5, 15, 19}) {
    tokens[elsewhere] = mask;
    CHECK(loss() == first);
  }
  for (const std::size_t inside : {6, 14}) {  // before and behind the target
    const double last = loss();
    tokens[inside] = mask;
    CHECK(loss() != last);
  }
}

}  // namespace masked_language_model_test
