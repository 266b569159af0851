// expect: a model takes a stack, and this is a single layer or block: say Repeat<depth, Block>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

using Block = Sequence<Residual<PreNorm, Attention<8, 2>>, Residual<PreNorm, FeedForward<8, 32>>>;
static_assert(LanguageModel<Vocabulary<9>, ContextLength<4>, Block>::width == 8);
