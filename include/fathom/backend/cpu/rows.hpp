// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/dropout.hpp>
#include <fathom/backend/cpu/lane.hpp>
#include <fathom/backend/cpu/sweep.hpp>
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

/// A row of what ops write for the stream, for branches, or for both.
template <class Stream, class Branch>
struct StreamRow {
  Stream* stream = nullptr;
  Branch* branch = nullptr;

  StreamRow operator+(std::size_t columns) const {
    return {stream ? stream + columns : nullptr, branch ? branch + columns : nullptr};
  }
};
template <class Stream, class Branch>
void store(StreamRow<Stream, Branch> to, Simd<Stream> v) {
  if (to.stream) store(to.stream, v);
  if (to.branch) store(to.branch, v);
}
template <class Stream, class Branch>
void store_first(StreamRow<Stream, Branch> to, Simd<Stream> v, std::size_t n) {
  if (to.stream) store_first(to.stream, v, n);
  if (to.branch) store_first(to.branch, v, n);
}

/// Row `index` of what may be of one type or of two, and whether rows lie one behind another without gaps.
template <class T>
T* row_of(const Matrix<T>& matrix, int index) {
  return matrix.row(index);
}
template <class Stream, class Branch>
StreamRow<Stream, Branch> row_of(const StreamMatrix<Stream, Branch>& matrix, int index) {
  return {matrix.stream ? matrix.stream.row(index) : nullptr, matrix.branch ? matrix.branch.row(index) : nullptr};
}
template <class T>
bool is_contiguous(const Matrix<T>& matrix) {
  return matrix.contiguous();
}
template <class Stream, class Branch>
bool is_contiguous(const StreamMatrix<Stream, Branch>& matrix) {
  return matrix.stream.contiguous() && matrix.branch.contiguous();
}

/// f(row, place, kept) for the places of `rows` rows of a sequence, each of `width` numbers, in order: kept(v) is v
/// times the factors of `dropout`.
template <class T, class F>
void sweep_dropped(const Dropout& dropout, int sequence, int position, int rows, int width, F&& f) {
  if (!dropout.active()) {
    for (int r = 0; r < rows; ++r)
      sweep<T>(std::size_t(width), [&](auto place) { f(r, place, [](Simd<T> v) { return v; }); });
    return;
  }
  each_dropout_block<T>(dropout, sequence, position, rows, 0, width, [&](int r, int column, const T* factors) {
    const int end = std::min(width - column, Dropout::block);
    for (int c = 0; c < end; c += int(simd_width<T>)) {
      const auto count = std::min(std::size_t(end - c), simd_width<T>);
      const auto kept = [&](Simd<T> v) { return v * load_first(factors + c, count); };
      if (count == simd_width<T>)
        f(r, Whole<T>{std::size_t(column + c)}, kept);
      else
        f(r, Remainder<T>{std::size_t(column + c), count}, kept);
    }
  });
}

/// The same for the rows of a packing.
template <class T, class F>
void each_place(const Packing& packing, Range rows, const Dropout& dropout, int width, F&& f) {
  each_run(packing, rows, [&](int sequence, int position, int first, int count) {
    sweep_dropped<T>(dropout, sequence, position, count, width,
                     [&](int r, auto place, auto kept) { f(first + r, place, kept); });
  });
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

/// Workspace for the sums of every shard of rows, each of `width` numbers.
template <class T>
constexpr std::int64_t partials_bytes(const Capacity& capacity, std::size_t width) {
  return align_up(std::int64_t(maximal_shards(capacity)) * std::int64_t(width) * std::int64_t(sizeof(T)));
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
