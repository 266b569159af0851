// expect: leave RelativePositions out
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

constexpr auto count = fathom::parameter_count<fathom::CrossAttention<8, 2, 8, fathom::RelativePositions<>>>();
