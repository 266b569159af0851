// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/random.hpp>

namespace fathom::inline FATHOM_ABI {

/// Dropout of one tensor. The mask is not stored: whether element (sequence, head, row, column) is kept follows from
/// the key, which stands for (seed, step, scope), and from these logical indices alone, so no mask depends on how a
/// batch is packed, cut or recomputed. Rows count from the start of their sequence, past rows of a cache included, as
/// positions do. So a sequence that is read piece by piece gets the masks that it would get as a whole.
///
/// The mapping: counter (column / 8, row, sequence, head) of Philox gives eight 16-bit numbers, the low half of each
/// word before its high half; number `column % 8` below `threshold()` drops the element. Rates are multiples of 2^-16.
struct Dropout {
  double rate = 0;
  Key key;

  static constexpr int block = 8;

  constexpr bool active() const { return rate > 0; }
  constexpr std::uint32_t threshold() const { return std::uint32_t(rate * 65536 + 0.5); }
  /// What kept elements are multiplied by.
  constexpr double scale() const { return 1 / (1 - threshold() / 65536.0); }

  /// The factors, 0 or `scale()`, of the eight columns from `8 * column_block` on.
  template <class T>
  constexpr std::array<T, block> factors(int sequence, int head, int row, int column_block) const {
    const auto words =
        Philox(key)({std::uint32_t(column_block), std::uint32_t(row), std::uint32_t(sequence), std::uint32_t(head)});
    const std::uint32_t limit = threshold();
    const T keep = T(scale());
    std::array<T, block> result{};
    for (std::size_t i = 0; i < block; ++i) {
      const std::uint32_t number = (words[i / 2] >> (16 * (i % 2))) & 0xffff;
      result[i] = number < limit ? T(0) : keep;
    }
    return result;
  }
  friend constexpr bool operator==(const Dropout&, const Dropout&) = default;
};

/// Where dropout is applied, and how much; zero everywhere but in training.
struct DropoutRates {
  double embedding = 0;   ///< on the sum of the embeddings
  double attention = 0;   ///< on the attention probabilities
  double activation = 0;  ///< behind the activation of a feed-forward layer
  double residual = 0;    ///< on the branch before it joins the residual stream
};

}  // namespace fathom::inline FATHOM_ABI
