// expect: Vocabulary: a model needs at least two tokens
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

static_assert(fathom::Vocabulary<1>::size == 1);
