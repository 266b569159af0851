// expect: CheckPieces<Shift>.*not say that it caches them|not say that it caches them.*CheckPieces<Shift>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/ref/ref.hpp>
#include <fathom/generate/generator.hpp>
#include <fathom/models/language_model.hpp>

using namespace fathom;

// Rows see earlier ones, and nothing is said of a cache.
struct Shift : Linear<8, 8> {
  static constexpr Sees sees = Sees::earlier;
};
using Stack = Repeat<2, Sequence<Residual<PreNorm, Attention<8, 2>>, Residual<PreNorm, Shift>>>;
using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, Stack>;
static_assert(Model::width == 8, "it trains");
void start(const Weights<Model, Ref<float>>& weights) { Generator<Model, Ref<float>> generator(weights); }
