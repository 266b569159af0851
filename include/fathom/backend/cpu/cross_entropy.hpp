// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/math.hpp>
#include <fathom/backend/cpu/shuffle.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <limits>

/// Softmax cross-entropy of one row of logits.
///
/// With lse = log Σ e^logit and target t, a row's loss is
///   (1 - smoothing) · (lse - logit[t]) + smoothing · (lse - mean(logit)) + z_loss · lse²,
/// that is label smoothing over all classes (Szegedy et al. 2016, arXiv 1512.00567) and the z-loss of PaLM (arXiv
/// 2204.02311). Its gradient is (1 + 2 z_loss lse) · softmax - smoothing / width, less 1 - smoothing at t.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

template <class T>
struct CrossEntropy {
  T smoothing = 0;  ///< share of the target spread evenly over all classes
  T z_loss = 0;     ///< factor of lse²
};

/// The three parts of a row's loss, without their factors; all zero for an ignored row.
template <class T>
struct RowLoss {
  T likelihood = 0;   ///< lse - logit[target]: the negative log-likelihood, in nats
  T smooth = 0;       ///< lse - mean(logit)
  T z = 0;            ///< lse²
  bool best = false;  ///< no logit exceeds the target's
};

namespace detail {

/// The parts of a row's loss, and what its gradient needs. `each(place, e)` is called with e = e^(logit - greatest).
template <class T>
struct SoftmaxSums {
  RowLoss<T> loss;
  T lse, sum;
};

template <class T, class Each>
SoftmaxSums<T> softmax_sums(std::size_t width, const T* logits, std::size_t target, Each each) {
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  Simd<T> greatest = broadcast(lowest), total{}, sum{};
  sweep<T>(width, [&](auto place) {
    const Simd<T> v = place.load(logits);
    greatest = max(place.select(v, lowest), greatest);
    total += v;
  });
  const T top = horizontal_max(greatest), picked = logits[target];
  sweep<T>(width, [&](auto place) {
    const Simd<T> e = place.select(exp(place.load(logits) - top), 0);
    sum += e;
    each(place, e);
  });
  SoftmaxSums<T> result;
  result.sum = horizontal_sum(sum);
  result.lse = std::log(result.sum) + top;
  result.loss = {result.lse - picked, result.lse - horizontal_sum(total) / static_cast<T>(width),
                 result.lse * result.lse, picked >= top};
  return result;
}

}  // namespace detail

/// The loss of a row of `width` logits; the row is ignored when target < 0. target must be below width.
template <class T>
RowLoss<T> cross_entropy(std::size_t width, const T* logits, std::int64_t target) {
  if (target < 0) return {};
  return detail::softmax_sums(width, logits, static_cast<std::size_t>(target), [](auto, auto) {}).loss;
}

/// The same, and the row OVERWRITTEN by `scale` times the loss's gradient: zero for an ignored row.
template <class T>
RowLoss<T> cross_entropy_backward(std::size_t width, T* logits, std::int64_t target, T scale,
                                  CrossEntropy<T> options = {}) {
  if (target < 0) {
    sweep<T>(width, [&](auto place) { place.store(logits, Simd<T>{}); });
    return {};
  }
  const auto index = static_cast<std::size_t>(target);
  const auto sums =
      detail::softmax_sums(width, logits, index, [&](auto place, Simd<T> e) { place.store(logits, e); });
  const T factor = scale * (1 + 2 * options.z_loss * sums.lse) / sums.sum;
  const T share = scale * options.smoothing / static_cast<T>(width);
  sweep<T>(width, [&](auto place) { place.store(logits, place.load(logits) * factor - share); });
  logits[index] -= scale * (1 - options.smoothing);
  return sums.loss;
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
