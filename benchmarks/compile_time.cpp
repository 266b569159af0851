// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>
#include <vector>

/// A whole trainer, LAYERS deep: what compile_time.sh compiles.
int main() {
  using namespace fathom;
  using Model = LanguageModel<Vocabulary<256>, ContextLength<128>, deepnet::DecoderOnly<LAYERS, 64, 2, 256>>;
  const PackedRows rows = PackedRows::uniform(4, Model::context);
  const std::vector<int> tokens(std::size_t(rows.rows()), 1);
  Trainer<Model, Cpu<>, AdamW> trainer(rows.capacity(), {});
  return trainer.step(TokenBatch{rows, tokens, tokens}).skipped.empty() ? 0 : 1;
}
