// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>

/// Passes over rows that ops of several families make.
namespace fathom::inline FATHOM_ABI::cuda {

/// y = x, rounded, or y += x.
template <class From, class To>
struct CopyRows {
  static constexpr const char* name = "copy";
  static constexpr int threads = 256;
  RowsOf<const From> x;  ///< absent: zeros
  RowsOf<To> y;
  bool add;
  int rows;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    each_octet(thread, threads, rows, y.columns, [&](int row, int column) {
      Octet values;
      if (x) values = x.load(thread, row, column);
      if (add) {
        const Octet old = y.load(thread, row, column);
        for (int i = 0; i < octet; ++i) values.at[i] += old.at[i];
      }
      y.store(thread, row, column, values);
    });
  }
};
template <class From, class To>
void copy_rows(Session& session, const Matrix<const From>& x, const Matrix<To>& y, bool add = false) {
  using K = CopyRows<From, To>;
  if (y.rows > 0) session.launch(octet_blocks<K>(y.rows, y.columns), K{x, y, add, y.rows});
}

/// *result += Σ of all partial sums.
template <class T>
struct AddAll {
  static constexpr const char* name = "add all";
  static constexpr int threads = 256;
  struct Shared {
    float part[threads / warp_size];
  };
  const float* partial;
  std::int64_t count;
  T* result;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    float sum = 0;
    for (std::int64_t i = thread.index(); i < count; i += threads) sum += thread.load(partial + i);
    sum = block_sum(thread, sum, thread.shared().part);
    if (thread.index() == 0) thread.store(result, T(float(thread.load(result)) + sum));
  }
};

/// Adds sums of parts to a gradient of one element for all columns, or of one for each, or to none where it is not
/// wanted: when the frame closes, so that `partial` must last until then.
template <class G>
void add_parts(Session& session, const float* partial, int parts, int columns, Elements<G> result) {
  if (result.empty()) return;
  if (result.size() == 1 && columns > 1)
    session.launch(1, AddAll<G>{partial, std::int64_t(parts) * columns, result.data()});
  else
    session.sums().add(session.stream(), Matrix<const float>(partial, parts, columns), result.data());
}

}  // namespace fathom::inline FATHOM_ABI::cuda
