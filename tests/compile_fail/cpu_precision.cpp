// expect: Cpu computes in Single, Double and Mixed; other bundles of types run on Ref
// SPDX-License-Identifier: Apache-2.0
#include <fathom/fathom.hpp>

using namespace fathom;

using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::DecoderOnly<2, 8, 2>>;
void train() { Trainer<Model, Cpu<MixedOf<F16>>, AdamW> trainer({8, 2, 4}, {}); }
