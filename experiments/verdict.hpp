// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
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

inline bool is_finite(const Point& point) {
  return std::isfinite(point.validation_loss) && std::isfinite(point.training_loss);
}

/// Of a ramp: the validations before it diverged, that is before a loss is not finite, or a model that was below the
/// unigram loss has come back to it.
inline std::span<const Point> before_divergence(const Result& result) {
  bool below = false;
  std::size_t count = 0;
  for (const Point& point : result.curve) {
    if (!is_finite(point) || (below && point.validation_loss >= result.unigram)) break;
    below = below || point.validation_loss < result.unigram;
    ++count;
  }
  return std::span(result.curve).first(count);
}

/// Learning rates of a ramp: of the validation with the lowest loss, and of the last one before it diverged. 0: it
/// never knew more than the tokens' frequencies.
struct Tolerance {
  double best = 0, largest = 0;
  bool more = false;  ///< it had not diverged in the end
};
inline Tolerance tolerance_of(const Result& result) {
  const auto sound = before_divergence(result);
  const auto best = std::ranges::min_element(sound, {}, &Point::validation_loss);
  if (best == sound.end() || best->validation_loss >= result.unigram) return {};
  const auto rate = [&](const Point& point) { return result.cell.rate * double(point.step) / double(result.steps); };
  return {rate(*best), rate(sound.back()), sound.back().step == result.steps};
}

inline Verdict verdict_of(const Result& result) {
  if (!result.gave_up.empty() || result.curve.empty()) return Verdict::not_finite;
  for (const Point& point : result.curve)
    if (!is_finite(point)) return Verdict::not_finite;
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
