// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include "cell.hpp"

namespace fathom::experiments {

/// How a training ended, by rules that are the same for every method. `rules_text` has them.
enum class Verdict { trained, not_finite, above_unigram, stagnates };

/// Of the unigram loss: how near a training that stagnates is to it, and how little it gains in its second half.
inline constexpr double stagnation_level = 0.05, stagnation_gain = 0.01;

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
  const auto rate = [&](const Point& point) {
    return result.cell.rate * double(point.step) / double(result.recipe.steps);
  };
  return {rate(*best), rate(sound.back()), sound.back().step == result.recipe.steps};
}

/// Whether more updates of a ramp tell nothing: it has diverged, or has learned nothing in the first half, after which
/// rates are only larger.
inline bool ramp_is_over(const Result& result) {
  if (before_divergence(result).size() < result.curve.size()) return true;
  return !result.curve.empty() && 2 * result.curve.back().step >= result.recipe.steps &&
         tolerance_of(result).largest == 0;
}

inline Verdict verdict_of(const Result& result) {
  if (!result.gave_up.empty() || result.curve.empty() || !std::ranges::all_of(result.curve, is_finite))
    return Verdict::not_finite;
  const double last = result.loss(), unigram = result.unigram;
  if (last >= unigram) return Verdict::above_unigram;
  const auto second_half =
      std::ranges::find_if(result.curve, [&](const Point& point) { return 2 * point.step > result.recipe.steps; });
  if (second_half == result.curve.begin()) return Verdict::trained;  // nothing is known of the first half
  const double gained = std::prev(second_half)->validation_loss - last;
  const bool stagnates = last > (1 - stagnation_level) * unigram && gained < stagnation_gain * unigram;
  return stagnates ? Verdict::stagnates : Verdict::trained;
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

/// What the words in a table mean.
inline std::string rules_text() {
  const auto percent = [](double share) { return std::to_string(std::lround(100 * share)) + " %"; };
  return "A training is *not finite* when a loss is NaN or infinite, or an update had to be skipped. It is *above "
         "unigram* when its last validation loss\nis not below that of a model that only knows how frequent each token "
         "is. It *stagnates* when that loss is within " +
         percent(stagnation_level) + " of the unigram\nmodel's and less than " + percent(stagnation_gain) +
         " of it was gained in the second half. A ramp has diverged when a loss is not finite, or comes back to the\n"
         "unigram model's from below. One that was not below it in its first half ends there.\n"
         "A table has the mean of the seeds that trained; its picture draws the others at the unigram loss.\n";
}

}  // namespace fathom::experiments
