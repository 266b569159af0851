// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "cell.hpp"

namespace fathom::experiments {

/// How a training ended, by rules that are the same for every method.
enum class Verdict {
  trained,
  not_finite,     ///< a loss was NaN or infinite, or training gave up
  above_unigram,  ///< the last validation loss is not below that of who only knows the tokens' frequencies
  stagnates,  ///< it is within a twentieth of that, and no more than a hundredth of it was gained in the second half
};

inline Verdict verdict_of(const Result& result) {
  if (!result.gave_up.empty() || result.curve.empty()) return Verdict::not_finite;
  for (const Point& point : result.curve)
    if (!std::isfinite(point.validation_loss) || !std::isfinite(point.training_loss)) return Verdict::not_finite;
  const double last = result.loss();
  if (last >= result.unigram) return Verdict::above_unigram;
  const double half = result.curve[result.curve.size() / 2].validation_loss;
  if (last > 0.95 * result.unigram && half - last < 0.01 * result.unigram) return Verdict::stagnates;
  return Verdict::trained;
}

constexpr std::string_view text_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::trained:
      return "trained";
    case Verdict::not_finite:
      return "not finite";
    case Verdict::above_unigram:
      return "above unigram";
    case Verdict::stagnates:
      return "stagnates";
  }
  return "";
}

}  // namespace fathom::experiments
