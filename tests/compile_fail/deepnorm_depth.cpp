// expect: CheckDepth<12, 100>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

// The stack has 12 layers, its alpha is that of 100.
constexpr double alpha = deepnorm::decoder_only(100).alpha;
using Block = Sequence<Residual<DeepNorm<alpha>, Attention<8, 2>>, Residual<DeepNorm<alpha>, FeedForward<8, 16>>>;
static_assert(LanguageModel<Vocabulary<9>, ContextLength<4>, Repeat<12, Block>>::width == 8);
