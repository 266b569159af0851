// expect: CheckOneTable<9, 7, 8, 8>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/models/translator.hpp>

using namespace fathom;
using Source = Encoder<Vocabulary<9>, ContextLength<4>, Repeat<12, Residual<PreNorm, Attention<8, 2, Full>>>>;
using Block = Sequence<Residual<PreNorm, Attention<8, 2, Causal>>, Residual<PreNorm, CrossAttention<8, 2>>>;
using Target = Decoder<Vocabulary<7>, ContextLength<4>, Repeat<6, Block>>;
static_assert(Translator<Source, Target, TiedSourceEmbedding>::parameter_count > 0);
