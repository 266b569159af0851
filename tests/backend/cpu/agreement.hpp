// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cpu/cpu.hpp>

#include "support/require_agreement.hpp"

namespace fathom_test {
using namespace fathom;

/// Sequences that are dealt to the threads whole, and sequences that have to be cut.
const testing::LayerRows dealt{.lengths = {30, 33, 29, 31}}, cut{.lengths = {70, 1, 33, 4}};

/// A layer on the CPU agrees with the reference on these rows, for one thread and for several.
template <class L>
void require_agreement(const testing::LayerRows& rows) {
  for (const int threads : {1, 3}) require_agreement_with_ref<L, Cpu<Double>>(rows, 1e-10, {.threads = threads});
}

}  // namespace fathom_test
