// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/dropout.hpp>
#include <fathom/backend/cpu/lane.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Calls f(first, count) for pieces of a range of rows: all at once if they are `contiguous` in every matrix that f
/// reads or writes, else row by row.
template <class F>
void each_piece(Range rows, bool contiguous, F&& f) {
  // Kernels are not inlined into the loop: that would only multiply their code.
  const auto piece = [&](int first, std::size_t count) __attribute__((noinline)) { f(first, count); };
  const int step = contiguous ? rows.size() : 1;
  for (int first = rows.begin; first < rows.end; first += step) piece(first, std::size_t(step));
}

/// y = x, for the rows of a share.
template <class T>
void copy_rows(Range rows, const Matrix<const T>& x, const Matrix<T>& y) {
  each_piece(rows, x.contiguous() && y.contiguous(), [&](int first, std::size_t count) {
    std::memcpy(y.row(first), x.row(first), count * std::size_t(x.columns) * sizeof(T));
  });
}

/// Calls f(row, column, factors) for the rows of a packing and blocks of columns that cover [columns.begin,
/// columns.end), as each_dropout_block does for those of a sequence.
template <class T, class F>
void each_dropped(const Packing& packing, Range rows, Range columns, const Dropout& dropout, F&& f) {
  each_run(packing, rows, [&](int sequence, int position, int first, int count) {
    each_dropout_block<T>(dropout, sequence, position, count, columns.begin, columns.end,
                          [&](int row, int column, const T* factors) { f(first + row, column, factors); });
  });
}

/// x *= the factors of `dropout`, for the rows of a share.
template <class T>
void drop_rows(const Packing& packing, Range rows, const Dropout& dropout, Matrix<T> matrix) {
  const int width = matrix.columns;
  each_dropped<T>(packing, rows, {0, width}, dropout, [&](int row, int column, const T* factors) {
    T* x = matrix.row(row) + column;
    if (width - column >= Dropout::block) {
      using Eight [[gnu::vector_size(Dropout::block * sizeof(T))]] = T;
      Eight values, eight_factors;
      std::memcpy(&values, x, sizeof values);
      std::memcpy(&eight_factors, factors, sizeof eight_factors);
      values *= eight_factors;
      std::memcpy(x, &values, sizeof values);
    } else {
      for (int i = 0; i < width - column; ++i) x[i] *= factors[i];
    }
  });
}

/// Workspace for the sums of every shard of rows, each of `width` numbers.
template <class T>
constexpr std::int64_t partials_bytes(const Capacity& capacity, std::size_t width) {
  return align_up(std::int64_t(maximal_shards(capacity)) * std::int64_t(width) * std::int64_t(sizeof(T)));
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
