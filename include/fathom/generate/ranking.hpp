// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <limits>
#include <span>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// ln Σ exp(x). Errors: `Error` for values that are NaN, plus infinity or all minus infinity.
template <class T>
double log_sum_exp(std::span<const T> values) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  T top = -infinity;
  bool finite = true;
  for (const T value : values) {
    top = value > top ? value : top;
    finite &= value < infinity;
  }
  if (!finite || !(top > -infinity))
    throw Error(
        "log_sum_exp: logits that are NaN, infinite or all minus infinity; the model's weights or its input are not "
        "finite");
  double sum = 0;
  for (const T value : values) sum += double(std::exp(value - top));
  return double(top) + std::log(sum);
}

/// The largest of a list of numbers, in descending order, without those that are minus infinity; of equal ones the
/// first counts as larger. Allocates when it is made, never again.
class Ranking {
 public:
  struct Place {
    double value = 0;
    int index = 0;
  };

  /// Of so many numbers at most.
  explicit Ranking(int most) : most_(std::size_t(most)) { places_.reserve(most_ + 1); }

  template <class T>
  std::span<const Place> operator()(std::span<const T> values) {
    places_.clear();
    T least = -std::numeric_limits<T>::infinity();  // what the next one has to exceed
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!(values[i] > least)) continue;
      std::size_t place = places_.size();
      while (place > 0 && double(values[i]) > places_[place - 1].value) --place;
      places_.insert(places_.begin() + std::ptrdiff_t(place), {double(values[i]), int(i)});
      if (places_.size() > most_) places_.pop_back();
      if (places_.size() == most_) least = T(places_.back().value);
    }
    return places_;
  }

 private:
  std::size_t most_;
  std::vector<Place> places_;
};

}  // namespace fathom::inline FATHOM_ABI
