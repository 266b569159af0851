// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <limits>

namespace fathom::inline FATHOM_ABI {

/// Whether the compiler was allowed to change arithmetic. GCC says so by macros, which core/config.hpp reads; clang has
/// none for most parts of -ffast-math. The operands are volatile, so that what is allowed is also done.
/// Errors: `Error` when a sum is reassociated, a quotient is a product, the sign of zero is lost, or NaN is ignored.
inline void check_arithmetic() {
  const volatile float half = 0.5f, five = 5.0f, minus_zero = -0.0f, nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float rounds = 0x1.8p23f, quotient = 5.0f / 3.0f;  // 5 * (1 / 3) is another float
  const float value = nan, zero = minus_zero + 0.0f;
  if ((half + rounds) - rounds == 0 && five / 3.0f == quotient && 1 / zero > 0 && value != value) return;
  throw Error(
      "fathom: this program was compiled with a part of -ffast-math, such as -funsafe-math-optimizations, which "
      "removes the guard against NaN; add -fno-fast-math behind it for all files that include fathom");
}

}  // namespace fathom::inline FATHOM_ABI
