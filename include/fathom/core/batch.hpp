// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/packing.hpp>
#include <span>

namespace fathom::inline FATHOM_ABI {

/// Packed sequences of tokens. A view: `text::Batch` owns one.
struct TokenBatch {
  Packing packing;
  std::span<const int> tokens;   ///< one a row, each below the vocabulary's size
  std::span<const int> targets;  ///< one a row; negative: no loss there
};

}  // namespace fathom::inline FATHOM_ABI
