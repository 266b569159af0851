// expect: no row of this stack sees rows behind it, but a MaskedLanguageModel predicts hidden tokens from both sides
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

static_assert(MaskedLanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::DecoderOnly<2, 8, 2>>::width == 8);
