// expect: this policy has no name, which a checkpoint stores: say `static constexpr const char\* name
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/train/checkpoint_config.hpp>

using namespace fathom;

struct HalfBranch : PlainResidual {
  static constexpr double branch(BlockIndex) { return 0.5; }
};
using Stack = Repeat<2, Residual<HalfBranch, Linear<8, 8>>>;
const auto description = detail::describe_model<LanguageModel<Vocabulary<9>, ContextLength<4>, Stack>>();
