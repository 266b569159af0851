// expect: the longest sequence has more rows than all together; give more rows
// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/ref/ref.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/train/memory_plan.hpp>

using namespace fathom;
using Stack = Repeat<2, Sequence<Residual<PreNorm, FeedForward<8, 16>>>>;
using Model = LanguageModel<Vocabulary<4>, ContextLength<32>, Stack>;
static_assert(training_memory<Model, Ref<float>, AdamW>({8, 4, 32}).total() > 0);
