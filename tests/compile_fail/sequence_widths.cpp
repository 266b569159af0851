// expect: CheckChain<1, 6, 7>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/sequence.hpp>

using namespace fathom;
static_assert(Sequence<Linear<4, 5>, Linear<5, 6>, Linear<7, 4>>::input_width == 4);
