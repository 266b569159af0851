// expect: this layer reads an encoder's output, and there is none here
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;
using Block = Sequence<Residual<PreNorm, Attention<8, 2>>, Residual<PreNorm, CrossAttention<8, 2>>>;
static_assert(LanguageModel<Vocabulary<9>, ContextLength<4>, Repeat<2, Block>>::width == 8);
