// expect: more than 16 layers; use Repeat<N, Block>
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/linear.hpp>
#include <fathom/layers/sequence.hpp>

using L = fathom::Linear<4, 4>;
static_assert(fathom::Sequence<L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L>::count == 17);
