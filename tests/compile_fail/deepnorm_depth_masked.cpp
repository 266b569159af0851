// expect: a DeepNorm alpha was made for another depth
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

using Block = deepnet::Block<2, 8, 2, Full, 16, Gelu>;
static_assert(MaskedLanguageModel<Vocabulary<9>, ContextLength<4>, Repeat<3, Block>>::width == 8);
