// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/math.hpp>
#include <fathom/backend/cpu/sweep.hpp>

/// Activations and gated activations over rows. Only the input h is kept for the backward pass, which computes the
/// activation again, for the weight gradient of the next layer, with the exponential that the slope needs anyway.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// An activation and its derivative.
template <SimdVector V>
struct Activated {
  V value, slope;
};

/// max(0, x); slope 0 at 0. NaN stays NaN.
struct ReluKernel {
  template <SimdVector V>
  static Activated<V> at(V x) {
    return {x < 0 ? V{} : x, x <= 0 ? V{} : broadcast(ElementOf<V>(1))};
  }
};

/// x Φ(x), Φ the normal distribution (Hendrycks and Gimpel 2016, arXiv 1606.08415).
struct GeluKernel {
  template <SimdVector V>
  static Activated<V> at(V x) {
    const auto [cumulative, density] = normal(x);
    return {x * cumulative, fma(x, density, cumulative)};
  }
};

/// The same paper's approximation, x/2 · (1 + tanh u) = x σ(2u) with u = √(2/π) (x + 0.044715 x³).
struct GeluTanhKernel {
  template <SimdVector V>
  static Activated<V> at(V x) {
    using T = ElementOf<V>;
    constexpr T c = T(0.79788456080286535588);
    const V square = x * x;
    const V s = sigmoid(x * (square * T(2 * 0.044715 * c) + T(2) * c));
    return {x * s, s + x * s * (T(1) - s) * (square * T(6 * 0.044715 * c) + T(2) * c)};
  }
};

/// x σ(x), also called swish.
struct SiluKernel {
  template <SimdVector V>
  static Activated<V> at(V x) {
    const V s = sigmoid(x);
    return {x * s, s + x * s * (ElementOf<V>(1) - s)};
  }
};

/// a = act(h), n numbers. a may be h.
template <class Activation, class Stored>
void activation_forward(std::size_t n, const Stored* h, Stored* a) {
  sweep<Computed<Stored>>(n, [&](auto place) { place.store(a, Activation::at(place.load(h)).value); });
}

/// dh = da · act'(h) and a = act(h), n numbers. dh may be da or h; a may be h or, if dh is not, da; null: not wanted.
template <class Activation, class Stored>
void activation_backward(std::size_t n, const Stored* h, const Stored* da, Stored* dh, Stored* a) {
  using T = Computed<Stored>;
  sweep<T>(n, [&](auto place) {
    const Simd<T> d = place.load(da);
    const auto [value, slope] = Activation::at(place.load(h));
    place.store(dh, d * slope);
    if (a != nullptr) place.store(a, value);
  });
}

/// a = act(gate) · up with h = [gate | up] (rows, 2 width), a (rows, width): GLU variants of Shazeer 2020, arXiv
/// 2002.05202. The first rows of h may not be a.
template <class Activation, class Stored>
void gated_forward(std::size_t rows, std::size_t width, const Stored* h, Stored* a) {
  using T = Computed<Stored>;
  for (std::size_t row = 0; row < rows; ++row, h += 2 * width, a += width)
    sweep<T>(width, [&](auto place) { place.store(a, Activation::at(place.load(h)).value * place.load(h + width)); });
}

/// dh = [da · up · act'(gate) | da · act(gate)] (rows, 2 width) and a = act(gate) · up. dh may be h; a may be da, or
/// null: not wanted.
template <class Activation, class Stored>
void gated_backward(std::size_t rows, std::size_t width, const Stored* h, const Stored* da, Stored* dh, Stored* a) {
  using T = Computed<Stored>;
  for (std::size_t row = 0; row < rows; ++row, h += 2 * width, dh += 2 * width, da += width) {
    sweep<T>(width, [&](auto place) {
      const Simd<T> d = place.load(da), up = place.load(h + width);
      const auto [value, slope] = Activation::at(place.load(h));
      place.store(dh, d * up * slope);
      place.store(dh + width, d * value);
      if (a != nullptr) place.store(a, value * up);
    });
    if (a != nullptr) a += width;
  }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
