// expect: Theorems 4.2 and 4.3 are about sublayers LN
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>
#include <fathom/models/update_bound.hpp>

using namespace fathom;

using Stack = Repeat<2, Residual<PreNorm, FeedForward<8, 16>>>;
constexpr double bound = sgd_update_bound<LanguageModel<Vocabulary<9>, ContextLength<4>, Stack>>(1e-4);
