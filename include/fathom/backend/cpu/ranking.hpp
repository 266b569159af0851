// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/math.hpp>
#include <fathom/backend/cpu/shuffle.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <functional>
#include <limits>

/// The largest of a row of logits. The row is cut into blocks, whose maxima are known first. No number below the
/// count-th largest of these can be among the largest, so few blocks are looked at.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

namespace detail {
template <class T>
inline constexpr std::size_t ranking_block = 8 * simd_width<T>;
}

template <class T>
constexpr std::size_t rank_logits_scratch(std::size_t width) {
  return 2 * ((width + detail::ranking_block<T> - 1) / detail::ranking_block<T>);
}

/// As op::RankLogits, for one row of `width` logits; returns the logarithm of the sum.
template <class T, class Stored>
T rank_logits(std::size_t width, const Stored* logits, std::size_t count, Stored* values, int* indices, T* scratch) {
  constexpr std::size_t block = detail::ranking_block<T>;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  std::fill_n(values, count, Stored(lowest));
  std::fill_n(indices, count, -1);
  const std::size_t blocks = rank_logits_scratch<T>(width) / 2;
  T *const maxima = scratch, *const sorted = scratch + blocks;
  Simd<T> greatest = broadcast(lowest);
  for (std::size_t b = 0; b < blocks; ++b) {
    Simd<T> high = broadcast(lowest);
    sweep<T>(std::min(block, width - b * block),
             [&](auto place) { high = max(place.select(place.load(logits + b * block), lowest), high); });
    maxima[b] = horizontal_max(high);
    greatest = max(greatest, high);
  }
  const T top = horizontal_max(greatest);
  Simd<T> sum{};
  sweep<T>(width, [&](auto place) { sum += place.select(exp(place.load(logits) - top), 0); });
  const T log_sum = std::log(horizontal_sum(sum)) + top;
  if (!std::isfinite(log_sum)) return std::numeric_limits<T>::quiet_NaN();  // and nothing below can be compared

  T least = lowest;  // what may be among the largest
  if (count < blocks) {
    std::copy_n(maxima, blocks, sorted);
    std::nth_element(sorted, sorted + count - 1, sorted + blocks, std::greater<>{});
    least = sorted[count - 1];
  }
  std::size_t found = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    if (maxima[b] < least) continue;
    for (std::size_t i = b * block; i < std::min(width, (b + 1) * block); ++i) {
      const T value = T(logits[i]);
      if (value < least || !(value > (found < count ? lowest : T(values[count - 1])))) continue;
      std::size_t place = found < count ? found++ : count - 1;
      for (; place > 0 && value > T(values[place - 1]); --place) {
        values[place] = values[place - 1];
        indices[place] = indices[place - 1];
      }
      values[place] = logits[i];
      indices[place] = int(i);
    }
  }
  return log_sum;
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
