// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <limits>

namespace fathom::inline FATHOM_ABI {

namespace half {

/// The nearest float between which and `value` no other float lies, with an odd last bit where `value` is none: what is
/// rounded to fewer bits afterwards comes out as if it had been rounded once.
constexpr float rounded_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  if (nearest == value || value != value) return nearest;
  std::uint32_t bits = std::bit_cast<std::uint32_t>(nearest);
  const bool too_far = (nearest > value) == (value > 0);  // in magnitude
  if (too_far) --bits;
  return std::bit_cast<float>(bits | 1);
}

}  // namespace half

/// A number of 16 bits that is stored as one and computed with as a float: what the two formats share. It becomes a
/// float by itself, without loss. A float, double or int becomes one where it is asked to, rounded to the nearest, ties
/// to the even one; too large ones become infinite. NaNs stay NaNs and become quiet. Trivially copyable; constexpr.
template <class Self>
struct Half {
  std::uint16_t bits = 0;

  constexpr Half() = default;
  explicit constexpr Half(float value) : bits(Self::rounded(value)) {}
  explicit constexpr Half(double value) : Half(half::rounded_to_odd(value)) {}
  explicit constexpr Half(std::same_as<int> auto value) : Half(double(value)) {}

  static constexpr Self from_bits(std::uint16_t bits) {
    Self value;
    value.bits = bits;
    return value;
  }
  constexpr operator float() const { return Self::widened(bits); }

  /// The sum, computed as a float, rounded. A sum of many terms belongs into a float.
  constexpr Self& operator+=(float term) { return self() = Self(float(*this) + term); }

 private:
  constexpr Self& self() { return static_cast<Self&>(*this); }
};

/// The upper half of a float: its range, 8 bits of precision.
struct Bf16 : Half<Bf16> {
  using Half::Half;

  static constexpr std::uint16_t rounded(float value) {
    const std::uint32_t whole = std::bit_cast<std::uint32_t>(value);
    if ((whole & 0x7FFF'FFFFu) > 0x7F80'0000u) return std::uint16_t(whole >> 16 | 0x40);
    return std::uint16_t((whole + 0x7FFFu + (whole >> 16 & 1)) >> 16);
  }
  static constexpr float widened(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

/// IEEE 754 half precision: 11 bits of precision, up to 65504.
struct F16 : Half<F16> {
  using Half::Half;

  static constexpr std::uint16_t rounded(float value) {
    const std::uint32_t whole = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = whole >> 16 & 0x8000u, magnitude = whole & 0x7FFF'FFFFu;
    constexpr std::uint32_t infinity = 0x7F80'0000u, two_to_16 = 0x4780'0000u, smallest_normal = 0x3880'0000u;
    if (magnitude > infinity) return std::uint16_t(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
    if (magnitude >= two_to_16) return std::uint16_t(sign | 0x7C00u);
    if (magnitude < smallest_normal) {  // floats from 0.5 on are as far apart as the subnormal numbers of 16 bits
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      return std::uint16_t(sign | (std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0.5f)));
    }
    const std::uint32_t rebiased = magnitude - (std::uint32_t{127 - 15} << 23);
    return std::uint16_t(sign | (rebiased + 0xFFFu + (rebiased >> 13 & 1)) >> 13);
  }
  static constexpr float widened(std::uint16_t bits) {
    const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1Fu, fraction = bits & 0x3FFu;
    if (exponent == 0) {
      const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
      return sign ? -magnitude : magnitude;
    }
    const std::uint32_t rebiased = exponent == 0x1F ? 0xFF : exponent + (127 - 15);
    return std::bit_cast<float>(sign | rebiased << 23 | fraction << 13);
  }
};

/// A number that ops may store: a float, a double, or one of 16 bits.
template <class T>
concept Number = std::floating_point<T> || std::same_as<T, Bf16> || std::same_as<T, F16>;

/// `value` as a `To`, rounded once where that is narrower.
template <Number To, Number From>
constexpr To rounded(From value) {
  if constexpr (std::floating_point<From> || std::same_as<To, From>)
    return To(value);
  else
    return To(float(value));
}

}  // namespace fathom::inline FATHOM_ABI

/// What the library asks of its numbers' limits.
template <>
struct std::numeric_limits<fathom::Bf16> {
  static constexpr bool is_specialized = true, is_signed = true, has_infinity = true, has_quiet_NaN = true;
  static constexpr int digits = 8;
  static constexpr fathom::Bf16 epsilon() { return fathom::Bf16::from_bits(0x3C00); }
  static constexpr fathom::Bf16 min() { return fathom::Bf16::from_bits(0x0080); }
  static constexpr fathom::Bf16 max() { return fathom::Bf16::from_bits(0x7F7F); }
  static constexpr fathom::Bf16 lowest() { return fathom::Bf16::from_bits(0xFF7F); }
  static constexpr fathom::Bf16 infinity() { return fathom::Bf16::from_bits(0x7F80); }
  static constexpr fathom::Bf16 quiet_NaN() { return fathom::Bf16::from_bits(0x7FC0); }
};
template <>
struct std::numeric_limits<fathom::F16> {
  static constexpr bool is_specialized = true, is_signed = true, has_infinity = true, has_quiet_NaN = true;
  static constexpr int digits = 11;
  static constexpr fathom::F16 epsilon() { return fathom::F16::from_bits(0x1400); }
  static constexpr fathom::F16 min() { return fathom::F16::from_bits(0x0400); }
  static constexpr fathom::F16 max() { return fathom::F16::from_bits(0x7BFF); }
  static constexpr fathom::F16 lowest() { return fathom::F16::from_bits(0xFBFF); }
  static constexpr fathom::F16 infinity() { return fathom::F16::from_bits(0x7C00); }
  static constexpr fathom::F16 quiet_NaN() { return fathom::F16::from_bits(0x7E00); }
};
