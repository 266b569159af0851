// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/key.hpp>
#include <numbers>
#include <utility>

/// Counter-based random numbers: a number is a function of (key, counter), so any of them can be had at any time, in
/// any order, on any thread, and nothing has to be stored to repeat a dropout mask or to resume a run.

namespace fathom::inline FATHOM_ABI {

/// Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); equal to
/// Random123's and cuRAND's. A Philox is its key (the low word first): eight bytes, copied freely.
class Philox {
 public:
  using Counter = std::array<std::uint32_t, 4>;
  using Block = std::array<std::uint32_t, 4>;

  constexpr explicit Philox(Key key) : key_(key.value) {}

  /// `operator()` for words of any kind, such as registers that hold many. `multiply(factor, word)` is the pair (low
  /// half, high half) of their product.
  template <class Word, class Multiply>
  constexpr std::array<Word, 4> rounds(std::array<Word, 4> counter, Multiply multiply) const {
    std::uint32_t low = static_cast<std::uint32_t>(key_), high = static_cast<std::uint32_t>(key_ >> 32);
    for (int round = 0; round < 10; ++round) {
      const auto [a_low, a_high] = multiply(0xD2511F53, counter[0]);
      const auto [b_low, b_high] = multiply(0xCD9E8D57, counter[2]);
      counter = {b_high ^ counter[1] ^ low, b_low, a_high ^ counter[3] ^ high, a_low};
      low += 0x9E3779B9;   // golden ratio
      high += 0xBB67AE85;  // sqrt(3) - 1
    }
    return counter;
  }

  /// The 128 random bits of one counter. For a fixed key this is a bijection of the 2^128 counters.
  constexpr Block operator()(Counter counter) const {
    return rounds(counter, [](std::uint32_t factor, std::uint32_t word) {
      const std::uint64_t product = std::uint64_t{factor} * word;
      return std::pair(static_cast<std::uint32_t>(product), static_cast<std::uint32_t>(product >> 32));
    });
  }

  /// The block of counter (index, stream), each 64 bits wide.
  constexpr Block operator()(std::uint64_t index, std::uint64_t stream = 0) const {
    return (*this)(Counter{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                           static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)});
  }

 private:
  std::uint64_t key_;
};

/// 64 bits of a block: the first or the second half.
constexpr std::uint64_t low_bits(const Philox::Block& bits) { return bits[0] | std::uint64_t{bits[1]} << 32; }
constexpr std::uint64_t high_bits(const Philox::Block& bits) { return bits[2] | std::uint64_t{bits[3]} << 32; }

/// Uniform in [0, 1), a multiple of 2^-24, every value of the float exact.
constexpr float uniform(std::uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }
/// Uniform in [0, 1), a multiple of 2^-53.
constexpr double uniform(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }
/// Uniform in (0, 1], for a logarithm.
constexpr double uniform_positive(std::uint64_t bits) { return static_cast<double>((bits >> 11) + 1) * 0x1p-53; }

/// Uniform in {0, …, count - 1}; count must be positive. By multiplication (Lemire 2019, arXiv 1805.10941) without the
/// rejection: a value's probability is off by less than 2^-64, so the bias is below count / 2^64 and is not observable.
constexpr std::uint64_t below(std::uint64_t count, std::uint64_t bits) {
  const std::uint64_t low = (count & 0xFFFFFFFF) * (bits & 0xFFFFFFFF);
  const std::uint64_t left = (count >> 32) * (bits & 0xFFFFFFFF);
  const std::uint64_t right = (count & 0xFFFFFFFF) * (bits >> 32);
  const std::uint64_t carry = ((low >> 32) + (left & 0xFFFFFFFF) + (right & 0xFFFFFFFF)) >> 32;
  return (count >> 32) * (bits >> 32) + (left >> 32) + (right >> 32) + carry;
}

/// Two independent standard normals from one block (Box and Muller 1958), |value| < 8.6. In double whatever the
/// caller's type, so that a float and a double model start from the same weights.
inline std::array<double, 2> normals(const Philox::Block& bits) {
  const double radius = std::sqrt(-2.0 * std::log(uniform_positive(low_bits(bits))));
  const double angle = 2.0 * std::numbers::pi * uniform(high_bits(bits));
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// A random permutation of {0, …, count - 1} of which every image is computed alone: nothing is stored, so the n-th
/// item of an epoch is known without the ones before it.
///
/// A balanced Feistel network of eight Philox rounds over the next even power of two that holds `count`, walked until
/// it lands inside (Black and Rogaway 2002); at most four steps on average.
class Permutation {
 public:
  constexpr Permutation(Key key, std::uint64_t count) : random_(key), count_(count) {
    while (half_ < 32 && (std::uint64_t{1} << (2 * half_)) < count) ++half_;
  }

  constexpr std::uint64_t size() const { return count_; }

  /// The image of index; index must be below size().
  constexpr std::uint64_t operator()(std::uint64_t index) const {
    do index = mix(index);
    while (index >= count_);
    return index;
  }

 private:
  constexpr std::uint64_t mix(std::uint64_t value) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_) - 1;
    std::uint64_t left = value >> half_;
    std::uint64_t right = value & mask;
    for (std::uint64_t round = 0; round < 8; ++round) {
      const std::uint64_t mixed = left ^ (random_(right, round)[0] & mask);
      left = right;
      right = mixed;
    }
    return left << half_ | right;
  }

  Philox random_;
  std::uint64_t count_;
  int half_ = 1;
};

}  // namespace fathom::inline FATHOM_ABI
