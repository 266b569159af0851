// expect: leave one of them out
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

constexpr auto count =
    fathom::parameter_count<fathom::Attention<8, 2, fathom::Causal, fathom::Rotary<>, fathom::RelativePositions<>>>();
