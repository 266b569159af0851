// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops/loss.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI {

/// Results of reductions, in memory of the machine; a `Context` owns one. An op gets the address of a member and writes
/// it once for all lanes; the next op of its kind writes it again.
///
///   worker(op::SumOfSquares<P>{.x = x, .result = worker.slot(&Slots::squares)});
///   const double squares = worker.read(&Slots::squares);
struct Slots {
  LossSums loss;
  double squares = 0;
  double variance = 0;
};

}  // namespace fathom::inline FATHOM_ABI
