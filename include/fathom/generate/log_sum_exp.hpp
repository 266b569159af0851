// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <limits>
#include <span>
#include <type_traits>

namespace fathom::inline FATHOM_ABI {

inline constexpr const char* not_finite =
    "logits that are NaN, infinite or all minus infinity: the model's weights or its input are not finite";

/// What the host computes in with numbers of type T: those of 16 bits are read as floats.
template <class T>
using HostNumber = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// ln Σ exp(x). Errors: `Error` for values that are NaN, plus infinity or all minus infinity.
template <class T>
double log_sum_exp(std::span<const T> values) {
  using Logit = HostNumber<T>;
  constexpr Logit infinity = std::numeric_limits<Logit>::infinity();
  Logit top = -infinity;
  bool finite = true;
  for (const Logit value : values) {
    top = value > top ? value : top;
    finite &= value < infinity;
  }
  if (!finite || !(top > -infinity)) throw Error(not_finite);
  double sum = 0;
  for (const Logit value : values) sum += double(std::exp(value - top));
  return double(top) + std::log(sum);
}

}  // namespace fathom::inline FATHOM_ABI
