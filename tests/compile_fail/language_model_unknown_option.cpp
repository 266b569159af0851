// expect: LanguageModel: an option that it does not know
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

// Biases are a matter of the layers.
using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::DecoderOnly<2, 8, 2>, NoBias>;
static_assert(Model::width == 8);
