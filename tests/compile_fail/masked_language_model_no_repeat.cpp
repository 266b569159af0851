// expect: a model takes a stack, and this is a single layer or block: say Repeat<depth, Block>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

using Block = Residual<PostNorm, Attention<8, 2, Full>>;
static_assert(MaskedLanguageModel<Vocabulary<9>, ContextLength<4>, Block>::width == 8);
