// expect: CheckEncoderDepth<12, 6, false>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/models/translator.hpp>

using namespace fathom;

// The alpha of an encoder without a decoder.
using Alone = DeepNorm<deepnorm::encoder_only(12).alpha>;
using Source = Encoder<Vocabulary<9>, ContextLength<4>, Repeat<12, Residual<Alone, Attention<8, 2, Full>>>>;
using Block = Sequence<Residual<PreNorm, Attention<8, 2, Causal>>, Residual<PreNorm, CrossAttention<8, 2>>>;
using Target = Decoder<Vocabulary<9>, ContextLength<4>, Repeat<6, Block>>;
static_assert(Translator<Source, Target>::parameter_count > 0);
