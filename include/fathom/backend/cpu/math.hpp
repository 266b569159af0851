// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/simd.hpp>
#include <limits>
#include <type_traits>

/// exp, exp2, log, tanh, erf, sigmoid and the normal distribution on vectors.
///
/// On `Simd<float>` they are branch-free; the error bounds below were found by sweeps over the whole range
/// (tests/backend/cpu/math_test.cpp). Polynomials are minimax fits to the named function on the named interval.
/// On `Simd<double>`, which serves gradient checks, each element calls the C library.
///
/// NaN gives NaN, infinities give the mathematical limit. Subnormal results may be zero.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Simd<float> or Simd<double>.
template <class V>
concept SimdVector = std::is_same_v<V, Simd<float>> || std::is_same_v<V, Simd<double>>;

/// The number type of a vector.
template <SimdVector V>
using ElementOf = std::conditional_t<std::is_same_v<V, Simd<float>>, float, double>;

namespace detail {

/// f of every element, one at a time.
template <SimdVector V, class F>
V map(V v, F f) {
  for (std::size_t i = 0; i < simd_width<ElementOf<V>>; ++i) v[i] = f(v[i]);
  return v;
}

/// c[0] + c[1] x + c[2] x² + …
template <class... C>
Simd<float> polynomial(Simd<float> x, float c0, C... c) {
  if constexpr (sizeof...(c) == 0)
    return broadcast(c0);
  else
    return fma(x, polynomial(x, c...), broadcast(c0));
}

/// 1.5 · 2^23: adding it rounds a float of magnitude below 2^22 to an integer, which then stands in the low bits.
inline constexpr float round_to_integer = 12582912.0f;

/// 2^n · half_mantissa · 2 for n in [-126, 128], given as n + round_to_integer; zero for n = -126.
/// (The factor 2 is split off because 2^128 is no float.)
inline Simd<float> scale_by_power_of_two(Simd<float> twice, Simd<float> shifted_n) {
  return twice * from_bits<float>((to_bits<float>(shifted_n) << 23) + (126 << 23));
}

}  // namespace detail

/// |x|.
template <SimdVector V>
V abs(V x) {
  using T = ElementOf<V>;
  return from_bits<T>(to_bits<T>(x) & ~to_bits<T>(broadcast(T(-0.0))));
}

/// The magnitude of x, which is not negative, with the sign of s.
template <SimdVector V>
V copy_sign(V x, V s) {
  using T = ElementOf<V>;
  return from_bits<T>(to_bits<T>(x) | (to_bits<T>(s) & to_bits<T>(broadcast(T(-0.0)))));
}

/// e^x. Error below 1.3 ulp; results below 2^-125 are zero.
template <SimdVector V>
V exp(V x) {
  if constexpr (std::is_same_v<V, Simd<double>>) {
    return detail::map(x, [](double element) { return std::exp(element); });
  } else {
    // max and min return their second operand for NaN.
    x = min(broadcast(88.73f), max(broadcast(-87.33f), x));
    const V shifted = fma(x, broadcast(1.44269504f), broadcast(detail::round_to_integer));
    const V n = shifted - detail::round_to_integer;
    V r = fma(n, broadcast(-0x1.62e4p-1f), x);  // ln 2 in two parts, the first short enough for an exact product
    r = fma(n, broadcast(-0x1.7f7d1cp-20f), r);
    const V tail = detail::polynomial(r, 0.999999861f, 0.333330296f, 0.0833369141f, 0.0167388401f, 0.00276262635f);
    return detail::scale_by_power_of_two(fma(r * r, tail, fma(r, broadcast(2.0f), broadcast(2.0f))), shifted);
  }
}

/// 2^x. Error below 1.3 ulp; results below 2^-125 are zero.
template <SimdVector V>
V exp2(V x) {
  if constexpr (std::is_same_v<V, Simd<double>>) {
    return detail::map(x, [](double element) { return std::exp2(element); });
  } else {
    const auto twice = [](V r) {
      return detail::polynomial(r, 2.0f, 1.386294408f, 0.480452955f, 0.111006587f, 0.0192369f, 0.00268003456f,
                                0.000307046222f);
    };
#if FATHOM_SIMD_BITS == 512
#pragma GCC diagnostic push  // g++ without optimization has a macro here, which takes the mask as a signed number
#pragma GCC diagnostic ignored "-Wsign-conversion"
    const V n = _mm512_maskz_roundscale_ps(0xffff, x, _MM_FROUND_TO_NEAREST_INT);
#pragma GCC diagnostic pop
    return _mm512_maskz_scalef_ps(0xffff, twice(x - n), n - 1.0f);  // also for infinities, where x - n is NaN
#else
    x = min(broadcast(128.0f), max(broadcast(-126.0f), x));
    const V shifted = x + detail::round_to_integer;
    return detail::scale_by_power_of_two(twice(x - (shifted - detail::round_to_integer)), shifted);
#endif
  }
}

/// The natural logarithm. Error below 1.2 ulp; log 0 = -∞, NaN below zero.
template <SimdVector V>
V log(V x) {
  if constexpr (std::is_same_v<V, Simd<double>>) {
    return detail::map(x, [](double element) { return std::log(element); });
  } else {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const auto tiny = x < std::numeric_limits<float>::min();
    const V scaled = tiny ? x * 0x1p24f : x;
    // scaled = 2^e · (1 + f) with 1 + f in [√½, √2).
    const SimdBits<float> bits = to_bits<float>(scaled);
    const SimdBits<float> exponent = (bits - 0x3f3504f3) & static_cast<std::int32_t>(0xff800000u);
    const V f = from_bits<float>(bits - exponent) - 1.0f;
    V e = __builtin_convertvector(exponent >> 23, V);
    e = tiny ? e - 24.0f : e;
    const V square = f * f;
    const V tail = detail::polynomial(f, 0.333333317f, -0.250008212f, 0.200012256f, -0.166233523f, 0.142017842f,
                                      -0.13160256f, 0.127614206f, -0.0763410766f);
    V y = fma(square * f, tail, fma(square, broadcast(-0.5f), e * -0x1.05c610p-29f));
    y = fma(e, broadcast(0x1.62e430p-1f), f + y);
    y = x == infinity ? x : y;
    y = x == 0.0f ? broadcast(-infinity) : y;
    return x >= 0.0f ? y : broadcast(std::numeric_limits<float>::quiet_NaN());
  }
}

/// Error below 2.5 ulp.
template <SimdVector V>
V tanh(V x) {
  if constexpr (std::is_same_v<V, Simd<double>>) {
    return detail::map(x, [](double element) { return std::tanh(element); });
  } else {
    const V a = abs(x), square = x * x;
    const V tail =
        detail::polynomial(square, -0.333332819f, 0.133314423f, -0.0537397219f, 0.0206391067f, -0.00570500632f);
    const V near = fma(x * square, tail, x);
    const V far = 1.0f - 2.0f / (exp(a + a) + 1.0f);
    return a < 0.625f ? near : copy_sign(far, x);
  }
}

/// 1 / (1 + e^-x). Error below 3 ulp.
template <SimdVector V>
V sigmoid(V x) {
  return ElementOf<V>(1) / (ElementOf<V>(1) + exp(-x));
}

/// The standard normal distribution at x.
template <SimdVector V>
struct Normal {
  V cumulative;  ///< ½ (1 + erf(x / √2))
  V density;     ///< e^(-x²/2) / √(2π)
};

/// Both from one exponential. In float the error of either is below 2e-7 and, for x > -5, below 2e-5 of the value.
template <SimdVector V>
Normal<V> normal(V x) {
  using T = ElementOf<V>;
  constexpr T inverse_root_two_pi = T(0.39894228040143267794);
  const V bell = exp(x * x * T(-0.5));
  if constexpr (std::is_same_v<V, Simd<double>>) {
    constexpr double inverse_root_two = 0.70710678118654752440;
    return {detail::map(x, [](double element) { return 0.5 * std::erfc(-element * inverse_root_two); }),
            bell * inverse_root_two_pi};
  } else {
    // The lower tail is e^(-x²/2) · u P(u), u = 1 / (1 + |x| / 4): the form of Hastings (Abramowitz and Stegun 7.1.26).
    const V u = 1.0f / fma(abs(x), broadcast(0.25f), broadcast(1.0f));
    const V tail = bell * (u * detail::polynomial(u, 0.0986723729f, 0.113470933f, 0.0202766785f, 0.28955466f,
                                                  -0.275553692f, 0.346179902f, -0.0926008587f));
    return {x < 0.0f ? tail : 1.0f - tail, bell * inverse_root_two_pi};
  }
}

/// The error function. Error below 3 ulp.
template <SimdVector V>
V erf(V x) {
  if constexpr (std::is_same_v<V, Simd<double>>) {
    return detail::map(x, [](double element) { return std::erf(element); });
  } else {
    const V a = abs(x), square = x * x;
    const V near = fma(x,
                       detail::polynomial(square, 0.128379143f, -0.376124465f, 0.11281324f, -0.0267489477f,
                                          0.0049675986f, -0.000586244981f),
                       x);
    const V far = 1.0f - 2.0f * normal(a * -1.41421356f).cumulative;
    return a < 0.9375f ? near : copy_sign(far, x);
  }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
