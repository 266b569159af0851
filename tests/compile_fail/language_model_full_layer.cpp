// expect: CheckCausal<[^<]*Attention<8, 2, [^<>]*Full> ?>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

// One layer of four.
template <class Mask>
using Block = Sequence<Residual<PreNorm, Attention<8, 2, Mask>>, Residual<PreNorm, FeedForward<8, 16>>>;
static_assert(LanguageModel<Vocabulary<9>, ContextLength<4>, Repeat<2, Sequence<Block<Causal>, Block<Full>>>>::width ==
              8);
