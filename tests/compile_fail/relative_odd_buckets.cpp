// expect: there must be an even.*number of them
// SPDX-License-Identifier: Apache-2.0
#include <fathom/layers/attention.hpp>

constexpr auto count = fathom::parameter_count<fathom::Attention<8, 2, fathom::Full, fathom::RelativePositions<7>>>();
