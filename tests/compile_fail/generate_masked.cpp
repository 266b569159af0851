// expect: Inference and Generator take a LanguageModel. For a MaskedLanguageModel there are
// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/ref/ref.hpp>
#include <fathom/generate/generate.hpp>
#include <fathom/models/language_model.hpp>

using namespace fathom;

using Model = MaskedLanguageModel<Vocabulary<256>, ContextLength<4>, deepnet::EncoderOnly<2, 8, 2>>;
std::string text(const Weights<Model, Ref<float>>& weights) { return generate(weights, "The "); }
