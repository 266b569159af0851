// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cuda/launch.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/half.hpp>
#include <fathom/core/view.hpp>
#include <type_traits>

/// Sums over rows that are added to a gradient: of a matrix, or of what another kernel has summed of parts of the rows.
namespace fathom::inline FATHOM_ABI::cuda {

/// results[c] += Σ of x[row][c], of several matrices at a time. No two add to the same results. Rows come in one order,
/// whatever the device. A block has a few columns and all rows, which its threads share out.
struct AddColumns {
  static constexpr const char* name = "add columns";
  static constexpr int threads = 256, most = 32;
  static constexpr int block_columns = 2 * octet, row_threads = 2, rows_at_once = threads / row_threads;
  static constexpr int column_groups = threads / block_columns;  ///< of threads that have a column each
  struct Shared {
    float rows[rows_at_once][block_columns + 1];
    float groups[column_groups][block_columns];
  };
  struct Sum {
    const void* x;  ///< Bf16 or float
    float* results;
    int rows, stride, columns, first_block;
    bool half, aligned;
  };
  Sum sums[most];
  int count;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    int of = 0;
    while (of + 1 < count && sums[of + 1].first_block <= thread.block()) ++of;
    const Sum& sum = sums[of];
    const int first = (thread.block() - sum.first_block) * block_columns, index = thread.index();
    auto& shared = thread.shared();

    const int own_row = index / row_threads, own_column = index % row_threads * octet;
    const Octet total = sum.half ? sum_rows<Bf16>(thread, sum, own_row, first + own_column)
                                 : sum_rows<float>(thread, sum, own_row, first + own_column);
    for (int i = 0; i < octet; ++i) shared.rows[own_row][own_column + i] = total.at[i];
    thread.barrier();
    const int column = index % block_columns, group = index / block_columns;
    float part = 0;
    for (int row = group; row < int(rows_at_once); row += column_groups) part += shared.rows[row][column];
    shared.groups[group][column] = part;
    thread.barrier();
    if (group > 0 || first + column >= sum.columns) return;
    float all = 0;
    for (int g = 0; g < int(column_groups); ++g) all += shared.groups[g][column];
    thread.store(sum.results + first + column, thread.load(sum.results + first + column) + all);
  }

 private:
  template <class T, class Thread>
  static constexpr Octet sum_rows(Thread& thread, const Sum& sum, int first_row, int column) {
    Octet total;
    if (column < sum.columns)
      for (int row = first_row; row < sum.rows; row += rows_at_once) {
        const T* const from = static_cast<const T*>(sum.x) + std::int64_t(row) * sum.stride + column;
        const Octet values = load_octet(thread, from, sum.columns - column, sum.aligned);
        for (int i = 0; i < octet; ++i) total.at[i] += values.at[i];
      }
    return total;
  }
};

/// Sums that wait: those of all ops of a frame take one launch.
class WaitingSums {
 public:
  /// results[c] += Σ of the rows of x, when `run` is called, or earlier; x must last until then.
  template <class T>
  void add(CUstream_st* stream, const Matrix<const T>& x, float* results) {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, Bf16>);
    if (waiting_.count == AddColumns::most || adds_to(results, x.columns)) run(stream);
    waiting_.sums[waiting_.count++] = {
        x.data, results, x.rows, x.stride, x.columns, blocks_, std::is_same_v<T, Bf16>, RowsOf<const T>(x).aligned};
    blocks_ += (x.columns + AddColumns::block_columns - 1) / AddColumns::block_columns;
  }
  void run(CUstream_st* stream) {
    if (waiting_.count > 0) launch(stream, blocks_, waiting_);
    waiting_.count = blocks_ = 0;
  }

 private:
  /// Whether a sum that waits adds to some of these results, as when a frame uses a parameter twice.
  bool adds_to(const float* results, int columns) const {
    for (int i = 0; i < waiting_.count; ++i) {
      const AddColumns::Sum& sum = waiting_.sums[i];
      if (results < sum.results + sum.columns && sum.results < results + columns) return true;
    }
    return false;
  }

  AddColumns waiting_{};
  int blocks_ = 0;
};

}  // namespace fathom::inline FATHOM_ABI::cuda
