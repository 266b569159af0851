// expect: CheckPieces<Shift>.*not say that it caches them|not say that it caches them.*CheckPieces<Shift>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/ref/ref.hpp>
#include <fathom/generate/pair_inference.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/models/translator.hpp>

using namespace fathom;

// Rows see earlier ones, and nothing is said of a cache.
struct Shift : Linear<8, 8> {
  static constexpr Sees sees = Sees::earlier;
};
using Source = Encoder<Vocabulary<9>, ContextLength<4>, Repeat<2, Residual<PreNorm, Attention<8, 2, Full>>>>;
using Block = Sequence<Residual<PreNorm, Shift>, Residual<PreNorm, CrossAttention<8, 2>>>;
using Model = Translator<Source, Decoder<Vocabulary<7>, ContextLength<4>, Repeat<2, Block>>>;
static_assert(Model::parameter_count > 0, "it trains");
static_assert(PairInference<Model, Ref<float>>::memory({}).cache > 0);
