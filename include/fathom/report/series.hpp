// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// A named curve: y[i] was measured at x[i]. What a log is read into and a plot is drawn from.
struct Series {
  std::string name;
  std::vector<double> x, y;  // equally many
};

}  // namespace fathom::inline FATHOM_ABI
