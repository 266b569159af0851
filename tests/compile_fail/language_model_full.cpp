// expect: a row of this layer sees rows behind it, so a LanguageModel sees the token that it is to predict
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

static_assert(LanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::EncoderOnly<2, 8, 2>>::width == 8);
