// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/shuffle.hpp>
#include <fathom/backend/cpu/simd.hpp>
#include <fathom/backend/cpu/sweep.hpp>

/// Optimizer steps and other passes over flat buffers of n numbers, each one pass at the speed of memory. Numbers are
/// independent of each other, so a buffer may be cut anywhere, except by sum_of_squares.
///
/// In every step the gradient is first multiplied by `gradient_scale` (clipping, loss scaling) and, if
/// `clear_gradient`, set to zero once it has been read. Scalars are double and are rounded to T once, after 1 - beta
/// and the like.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// As torch.optim.SGD without dampening: d = gradient + decay · weight;  momentum' = momentum · beta + d;
/// weight -= rate · (nesterov ? d + beta · momentum' : momentum').
struct SgdStep {
  double rate, beta = 0, decay = 0;
  bool nesterov = false;
  double gradient_scale = 1;
  bool clear_gradient = false;
};

/// As torch.optim.Adam, or AdamW when the decay is decoupled (Loshchilov and Hutter, arXiv 1711.05101):
/// moment' = beta1 · moment + (1 - beta1) · gradient;  square' = beta2 · square + (1 - beta2) · gradient²;
/// weight -= rate / correction1 · moment' / (√square' / √correction2 + epsilon).
struct AdamStep {
  double rate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0;
  bool decoupled_decay = true;  ///< weight *= 1 - rate · decay first; otherwise gradient += decay · weight
  double correction1 = 1;       ///< 1 - beta1^t in step t = 1, 2, …
  double correction2 = 1;       ///< 1 - beta2^t
  double gradient_scale = 1;
  bool clear_gradient = false;
};

/// Lion (Chen et al. 2023, arXiv 2302.06675): weight *= 1 - rate · decay;
/// weight -= rate · sign(beta1 · moment + (1 - beta1) · gradient);  moment' = beta2 · moment + (1 - beta2) · gradient.
struct LionStep {
  double rate, beta1 = 0.9, beta2 = 0.99, decay = 0;
  double gradient_scale = 1;
  bool clear_gradient = false;
};

/// momentum may be null when beta is 0, and is then not kept; it starts as zeros.
template <class T>
void sgd_update(std::size_t n, const SgdStep& step, T* weight, T* gradient, T* momentum) {
  const T rate = T(step.rate), beta = T(step.beta), decay = T(step.decay), scale = T(step.gradient_scale);
  sweep<T>(n, [&](auto place) {
    const Simd<T> w = place.load(weight);
    Simd<T> d = place.load(gradient) * scale + w * decay;
    if (step.clear_gradient) place.store(gradient, Simd<T>{});
    if (momentum != nullptr) {
      const Simd<T> m = place.load(momentum) * beta + d;
      place.store(momentum, m);
      d = step.nesterov ? d + m * beta : m;
    }
    place.store(weight, w - d * rate);
  });
}

/// moment and square start as zeros.
template <class T>
void adam_update(std::size_t n, const AdamStep& step, T* weight, T* gradient, T* moment, T* square) {
  const T keep = T(step.decoupled_decay ? 1 - step.rate * step.decay : 1);
  const T decay = T(step.decoupled_decay ? 0 : step.decay);
  const T complement1 = T(1 - step.beta1), beta2 = T(step.beta2), complement2 = T(1 - step.beta2);
  const T rate = T(step.rate / step.correction1), inverse_root = T(1 / std::sqrt(step.correction2));
  const T epsilon = T(step.epsilon), scale = T(step.gradient_scale);
  sweep<T>(n, [&](auto place) {
    const Simd<T> w = place.load(weight);
    const Simd<T> g = place.load(gradient) * scale + w * decay;
    if (step.clear_gradient) place.store(gradient, Simd<T>{});
    const Simd<T> old = place.load(moment);
    const Simd<T> m = old + (g - old) * complement1;
    const Simd<T> v = place.load(square) * beta2 + g * g * complement2;
    place.store(moment, m);
    place.store(square, v);
    place.store(weight, w * keep - m / (sqrt(v) * inverse_root + epsilon) * rate);
  });
}

/// moment starts as zeros.
template <class T>
void lion_update(std::size_t n, const LionStep& step, T* weight, T* gradient, T* moment) {
  const T rate = T(step.rate), keep = T(1 - step.rate * step.decay), scale = T(step.gradient_scale);
  const T beta1 = T(step.beta1), complement1 = T(1 - step.beta1);
  const T beta2 = T(step.beta2), complement2 = T(1 - step.beta2);
  sweep<T>(n, [&](auto place) {
    const Simd<T> g = place.load(gradient) * scale, m = place.load(moment);
    if (step.clear_gradient) place.store(gradient, Simd<T>{});
    const Simd<T> u = m * beta1 + g * complement1;
    const Simd<T> sign = u > 0 ? broadcast(T(1)) : u < 0 ? broadcast(T(-1)) : u;  // u itself for 0 and NaN
    place.store(weight, place.load(weight) * keep - sign * rate);
    place.store(moment, m * beta2 + g * complement2);
  });
}

/// Σ x², in an order that depends on n alone; rounded to double after every 4,096 numbers.
template <class T>
double sum_of_squares(std::size_t n, const T* x) {
  constexpr std::size_t chunk = 4096, chains = 4;
  double total = 0;
  for (; n > 0;) {
    const std::size_t count = n < chunk ? n : chunk;
    Simd<T> sum[chains] = {};
    std::size_t i = 0;
    for (; i + chains * simd_width<T> <= count; i += chains * simd_width<T>)
#pragma GCC unroll 4
      for (std::size_t c = 0; c < chains; ++c) {
        const Simd<T> v = load(x + i + c * simd_width<T>);
        sum[c] = fma(v, v, sum[c]);
      }
    sweep<T>(count - i, [&](auto place) {
      const Simd<T> v = place.load(x + i);
      sum[0] = fma(v, v, sum[0]);
    });
    total += horizontal_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    x += count;
    n -= count;
  }
  return total;
}

/// average = decay · average + (1 - decay) · x.
template <class T>
void average_update(std::size_t n, double decay, const T* x, T* average) {
  const T share = T(1 - decay);
  sweep<T>(n, [&](auto place) {
    const Simd<T> old = place.load(average);
    place.store(average, old + (place.load(x) - old) * share);
  });
}

/// y += a · x.
template <class T>
void axpy(std::size_t n, T a, const T* x, T* y) {
  sweep<T>(n, [&](auto place) { place.store(y, fma(broadcast(a), place.load(x), place.load(y))); });
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
