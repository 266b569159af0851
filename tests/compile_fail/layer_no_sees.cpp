// expect: the layer at this Place does not say which rows a row of it sees
// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/language_model.hpp>

using namespace fathom;

struct Shift {
  static constexpr const char* name = "shift";
  static constexpr int input_width = 8, output_width = 8;
  template <class T>
  using Params = NoParams<T>;
  template <class P>
  using Saved = NothingSaved<P>;
};
using Stack = Repeat<2, Residual<PreNorm, Shift>>;
static_assert(LanguageModel<Vocabulary<9>, ContextLength<4>, Stack>::width == 8);
