// expect: reads more than one stream of tokens.*for a Translator there are PairInference and PairGenerator
// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/ref/ref.hpp>
#include <fathom/generate/inference.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/models/translator.hpp>

using namespace fathom;

using Source = Encoder<Vocabulary<9>, ContextLength<4>, Repeat<2, Residual<PreNorm, Attention<8, 2, Full>>>>;
using Block = Sequence<Residual<PreNorm, Attention<8, 2>>, Residual<PreNorm, CrossAttention<8, 2>>>;
using Target = Decoder<Vocabulary<7>, ContextLength<4>, Repeat<2, Block>>;
static_assert(Inference<Translator<Source, Target>, Ref<float>>::memory({}).cache > 0);
