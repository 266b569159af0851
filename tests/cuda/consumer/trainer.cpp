// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/core/error.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <vector>

using namespace fathom;

using Model = LanguageModel<Vocabulary<64>, ContextLength<32>, deepnet::DecoderOnly<12, 64, 2>>;

/// Counts from 0 to 63, again and again: what the model has to learn.
int main() try {
  constexpr int batch = 4, length = 32;
  const PackedRows rows = PackedRows::uniform(batch, length);
  std::vector<int> tokens, targets;
  for (int i = 0; i < batch * length; ++i) tokens.push_back(i % 64), targets.push_back((i + 1) % 64);
  Trainer<Model, Cuda<Mixed>, AdamW> trainer(rows.capacity(), {.seed = 1});
  double first = 0, last = 0;
  for (int step = 0; step < 50; ++step) {
    last = trainer.step(TokenBatch{rows, tokens, targets}, 1e-3).loss;
    if (step == 0) first = last;
  }
  std::printf("loss %.3f, then %.3f\n", first, last);
  return last < first ? 0 : 1;
} catch (const Error& error) {
  std::fprintf(stderr, "trainer: %s\n", error.what());
  return 1;
}
