// expect: this model reads one stream of tokens.*for a LanguageModel there are Inference and Generator
// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/ref/ref.hpp>
#include <fathom/generate/pair_generator.hpp>
#include <fathom/models/language_model.hpp>

using namespace fathom;

using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::DecoderOnly<2, 8, 2>>;
void start(const Weights<Model, Ref<float>>& weights) { PairGenerator<Model, Ref<float>> generator(weights, {}); }
