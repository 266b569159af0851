// expect: LanguageModel: its first two arguments are Vocabulary<size> and ContextLength<length>, in this order
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

static_assert(LanguageModel<ContextLength<4>, Vocabulary<9>, deepnet::DecoderOnly<2, 8, 2>>::width == 8);
