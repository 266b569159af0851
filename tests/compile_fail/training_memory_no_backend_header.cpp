// expect: the header of this backend is missing: .*<fathom/backend/ref/ref.hpp> for Ref
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/memory_plan.hpp>

using namespace fathom;

using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::DecoderOnly<2, 8, 2>>;
static_assert(training_memory<Model, Ref<float>, AdamW>({8, 2, 4}).total() > 0);
