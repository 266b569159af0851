// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>

#include "backend/ops/operands.hpp"

namespace fathom_test::sample {

/// The view that an output may be besides one of its own.
enum class Into { own, x, f, dy, skip };

/// A skip with a gradient that starts from it, or no skip.
template <class P>
Skip<P> skip(Operands<P>& o, bool present, int width, Matrix<typename P::Stream>& value) {
  value = o.values(present ? o.count() : 0, width);
  return {value, present ? -1.5 : std::numeric_limits<double>::quiet_NaN()};
}

}  // namespace fathom_test::sample
