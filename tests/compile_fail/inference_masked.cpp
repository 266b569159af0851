// expect: sees rows behind it, which are not there yet when a text is continued
// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/ref/ref.hpp>
#include <fathom/generate/inference.hpp>
#include <fathom/models/language_model.hpp>

using namespace fathom;

using Model = MaskedLanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::EncoderOnly<2, 8, 2>>;
static_assert(Inference<Model, Ref<float>>::memory({}).cache > 0);
