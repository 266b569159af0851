// expect: the header of this backend is missing: include <fathom/backend/cpu/cpu.hpp> for Cpu
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/trainer.hpp>

using namespace fathom;

using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::DecoderOnly<2, 8, 2>>;
void train() { Trainer<Model, Cpu<>, AdamW> trainer({8, 2, 4}, {}); }
