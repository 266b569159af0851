// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/shuffle.hpp>
#include <fathom/backend/cpu/simd.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/random.hpp>
#include <utility>

/// The factors of `Dropout`, many counters at a time.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

namespace detail {

inline constexpr int word_width = int(simd_bytes / sizeof(std::uint32_t));
using Words [[gnu::vector_size(simd_bytes)]] = std::uint32_t;
using WideWords [[gnu::vector_size(simd_bytes)]] = std::uint64_t;

/// The 64-bit products of the even elements.
inline WideWords multiply_even(Words x, std::uint32_t factor) {
#if FATHOM_SIMD_BITS == 512
  // Masked by nothing, because g++ 12 warns of the plain one.
  return (WideWords)_mm512_maskz_mul_epu32(0xff, (__m512i)x, _mm512_set1_epi64(factor));
#elif FATHOM_SIMD_BITS == 256 && defined(__AVX2__)
  return (WideWords)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(factor));
#else
  return ((WideWords)x & 0xffffffff) * factor;
#endif
}

/// `Philox` of as many counters as a register holds.
inline std::array<Words, 4> philox(Key key, const std::array<Words, 4>& counters) {
  return Philox(key).rounds(counters, [](std::uint32_t factor, Words x) {
    constexpr std::uint64_t low = 0xffffffff;
    const WideWords even = multiply_even(x, factor), odd = multiply_even((Words)((WideWords)x >> 32), factor);
    return std::pair((Words)((even & low) | odd << 32), (Words)(even >> 32 | (odd & ~low)));
  });
}

}  // namespace detail

/// The factors of the blocks of columns that cover [first_column, end_column), in all of `rows` rows of a sequence from
/// `position` on: row by row, as many at a time as a register has counters. first_column is a multiple of
/// Dropout::block.
template <class T>
class DropoutBlocks {
 public:
  DropoutBlocks(const Dropout& dropout, int sequence, int position, int rows, int first_column, int end_column)
      : dropout_(dropout),
        sequence_(sequence),
        position_(position),
        first_(first_column / Dropout::block),
        end_((end_column + Dropout::block - 1) / Dropout::block),
        next_column_(first_),
        left_(std::int64_t(rows) * (end_ - first_)) {}

  /// Computes the next blocks and returns how many they are, 0 at the end. Not inlined: every kernel with dropout would
  /// have the generator's code once more.
  [[gnu::noinline]] int next() {
    using namespace detail;
    const int count = int(std::min<std::int64_t>(left_, word_width));
    if (count == 0) return 0;
    for (int i = 0; i < count; ++i) {
      row_[i] = next_row_, column_[i] = next_column_;
      if (++next_column_ == end_) next_column_ = first_, ++next_row_;
    }
    left_ -= count;
    Words rows{}, columns{};
    for (int i = 0; i < word_width; ++i) {
      rows[i] = std::uint32_t(position_ + row_[i]);
      columns[i] = std::uint32_t(column_[i]);
    }
    const auto random = philox(dropout_.key, {columns, rows, Words{} + std::uint32_t(sequence_), Words{}});
    // Transposed in squares of four words, all bits of a counter lie together.
    Words squares[words] = {random[0], random[1], random[2], random[3]};
    transpose(squares);
    std::uint16_t numbers[word_width * Dropout::block];
    static_assert(sizeof numbers == sizeof squares);
    std::memcpy(numbers, squares, sizeof numbers);
    const std::uint32_t limit = dropout_.threshold();
    const T keep = T(dropout_.scale());
    for (int i = 0; i < word_width * Dropout::block; ++i) factors_[i] = numbers[i] < limit ? T(0) : keep;
    return count;
  }

  /// Of block i of these: its row, its first column, and its Dropout::block factors.
  int row(int i) const { return row_[i]; }
  int column(int i) const { return column_[i] * Dropout::block; }
  const T* factors(int i) const { return factors_ + (i % words * groups + i / words) * Dropout::block; }

 private:
  static constexpr int words = 4, groups = detail::word_width / words;

  Dropout dropout_;
  int sequence_, position_, first_, end_;
  int next_row_ = 0, next_column_;
  std::int64_t left_;
  Indexed<std::array<int, detail::word_width>> row_{}, column_{};
  T factors_[detail::word_width * Dropout::block];
};

/// Calls f(row, column, factors) for these blocks. factors[i], i < Dropout::block, belongs to column + i.
template <class T, class F>
void each_dropout_block(const Dropout& dropout, int sequence, int position, int rows, int first_column, int end_column,
                        F&& f) {
  DropoutBlocks<T> blocks(dropout, sequence, position, rows, first_column, end_column);
  while (const int count = blocks.next())
    for (int i = 0; i < count; ++i) f(blocks.row(i), blocks.column(i), blocks.factors(i));
}

/// factors[c · simd_width<T> + element] for the columns column + c, c < 4, of the rows row + element; column is a
/// multiple of 4.
template <class T>
void dropout_columns(const Dropout& dropout, int sequence, int head, int row, int column, T* factors) {
  using namespace detail;
  const auto word = [](int value) { return Words{} + std::uint32_t(value); };
  Words rows = word(row);
  for (int element = 0; element < word_width; ++element) rows[element] += std::uint32_t(element);
  const auto random = philox(dropout.key, {word(column / Dropout::block), rows, word(sequence), word(head)});
  const std::uint32_t limit = dropout.threshold();
  const T keep = T(dropout.scale());
  for (int c = 0; c < 4; ++c) {
    const int number = column % Dropout::block + c;
    const Words numbers = random[std::size_t(number / 2)] >> (16 * (number % 2)) & 0xffff;
    for (int element = 0; element < int(simd_width<T>); ++element)
      factors[c * int(simd_width<T>) + element] = numbers[element] < limit ? T(0) : keep;
  }
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
