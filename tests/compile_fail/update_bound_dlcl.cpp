// expect: Theorems 4.2 and 4.3 are about stacks whose layers read the one before them
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/dlcl.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/update_bound.hpp>

using namespace fathom;

using Block = Sequence<Residual<PostNorm, Attention<8, 2>>, Residual<PostNorm, FeedForward<8, 16>>>;
using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, Dlcl<6, Block>>;
static_assert(sgd_update_bound<Model>(1) > 0);
