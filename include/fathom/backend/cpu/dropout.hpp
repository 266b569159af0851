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

/// Calls f(row, column, factors) for the blocks of columns that cover [first_column, end_column), in all of `rows` rows
/// of a sequence from `position` on. factors[i], i < Dropout::block, belongs to column + i; first_column is a multiple
/// of Dropout::block.
template <class T, class F>
void each_dropout_block(const Dropout& dropout, int sequence, int position, int rows, int first_column, int end_column,
                        F&& f) {
  using namespace detail;
  constexpr int block = Dropout::block, words = 4, groups = word_width / words;
  const int first = first_column / block, end = (end_column + block - 1) / block;
  const std::uint32_t limit = dropout.threshold();
  const T keep = T(dropout.scale());
  int row = 0, column = first;  // of the next counter
  for (std::int64_t left = std::int64_t(rows) * (end - first); left > 0; left -= word_width) {
    const int count = int(std::min<std::int64_t>(left, word_width));
    Indexed<std::array<int, word_width>> row_of{}, column_of{};
    Words row_words{}, column_words{};
    for (int i = 0; i < count; ++i) {
      row_of[i] = row, column_of[i] = column;
      if (++column == end) column = first, ++row;
    }
    for (int i = 0; i < word_width; ++i) {
      row_words[i] = std::uint32_t(position + row_of[i]);
      column_words[i] = std::uint32_t(column_of[i]);
    }
    const auto random = philox(dropout.key, {column_words, row_words, Words{} + std::uint32_t(sequence), Words{}});
    // Transposed in squares of four words, all bits of a counter lie together.
    Words squares[words] = {random[0], random[1], random[2], random[3]};
    transpose(squares);
    std::uint16_t numbers[word_width * block];
    static_assert(sizeof numbers == sizeof squares);
    std::memcpy(numbers, squares, sizeof numbers);
    T factors[word_width * block];
    for (int i = 0; i < word_width * block; ++i) factors[i] = numbers[i] < limit ? T(0) : keep;
    for (int i = 0; i < count; ++i)
      f(row_of[i], column_of[i] * block, factors + (i % words * groups + i / words) * block);
  }
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
