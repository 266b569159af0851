// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <fathom/core/key.hpp>
#include <fathom/core/random.hpp>
#include <fathom/text/packed_pairs.hpp>
#include <span>

namespace fathom_test {
using namespace fathom;

/// Pairs of some letters, as many as `Shortest` to `Longest`, and the same letters backwards: what a model can only
/// predict by reading the source.
template <int Letters, int Shortest, int Longest>
class ReversedPairsOf {
 public:
  using Packed = text::PackedPairs;
  static constexpr int letters = Letters, begin = letters, end = letters + 1;  // tokens of the target alone
  static constexpr int source_vocabulary = letters, target_vocabulary = letters + 2;
  static constexpr int longest = Longest;

  explicit ReversedPairsOf(const PairCapacity& capacity, std::uint64_t seed = 1) : capacity_(capacity), key_{seed} {}

  PairCapacity capacity() const { return capacity_; }
  std::uint64_t epoch() const { return 100; }
  std::uint64_t fill(std::uint64_t cursor, Packed& batch) const {
    batch.clear();
    for (;; ++cursor) {
      const Philox random(key_.child(cursor));
      const int length = Shortest + int(below(Longest - Shortest + 1, low_bits(random(0))));
      std::array<int, longest> source;
      std::array<int, longest + 1> target{begin};
      for (int i = 0; i < length; ++i) {
        source[std::size_t(i)] = int(below(letters, low_bits(random(std::uint64_t(i) + 1))));
        target[std::size_t(length - i)] = source[std::size_t(i)];
      }
      const auto from = std::span<const int>(source).first(std::size_t(length));
      const auto to = std::span<const int>(target).first(std::size_t(length) + 1);
      if (!batch.fits(from.size(), to.size())) break;
      batch.append(from, to, end);
    }
    batch.pack();
    return cursor;
  }

 private:
  PairCapacity capacity_;
  Key key_;
};
using ReversedPairs = ReversedPairsOf<8, 3, 6>;

}  // namespace fathom_test
