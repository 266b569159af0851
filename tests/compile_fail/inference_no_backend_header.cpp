// expect: the header of this backend is missing: include <fathom/backend/cpu/cpu.hpp> for Cpu
// SPDX-License-Identifier: Apache-2.0
#include <fathom/generate/inference.hpp>
#include <fathom/models/language_model.hpp>

using namespace fathom;

using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::DecoderOnly<2, 8, 2>>;
void sample(const Weights<Model, Cpu<>>& weights) {
  Inference<Model, Cpu<>>(weights, {.sequences = 1, .pass = 1, .length = 4});
}
