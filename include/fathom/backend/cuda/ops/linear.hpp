// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/linear.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::cuda {

/// y = x, in the types that are wanted.
template <class From, class To>
struct Convert {
  static constexpr const char* name = "convert";
  static constexpr int threads = 256;
  From x;
  To y;
  int rows, columns;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int octets = (columns + octet - 1) / octet;
    for (std::int64_t i = std::int64_t(thread.block()) * threads + thread.index(); i < std::int64_t(rows) * octets;
         i += std::int64_t(thread.blocks()) * threads) {
      const int row = int(i / octets), column = int(i % octets) * octet;
      y.store(thread, row, column, x.load(thread, row, column));
    }
  }
};
template <class From, class To>
void convert(Session& session, const Matrix<From>& x, const Matrix<To>& y) {
  using K = Convert<RowsOf<const From>, RowsOf<To>>;
  const K kernel{Matrix<const From>(x), y, y.rows, y.columns};
  session.launch(blocks_for<K>(std::int64_t(y.rows) * ((y.columns + octet - 1) / octet)), kernel);
}

/// Sums of the columns of x, for every part of the rows: partial[part][column].
template <class T>
struct SumColumns {
  static constexpr const char* name = "sum columns";
  static constexpr int threads = 32;  ///< a block for a part and 256 columns
  RowsOf<const T> x;
  int rows, parts;
  float* partial;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int part = thread.block() % parts, column = (thread.block() / parts * threads + thread.index()) * octet;
    if (column >= x.columns) return;
    Octet sum;
    for (int row = part; row < rows; row += parts) {
      const Octet values = x.load(thread, row, column);
      for (int i = 0; i < octet; ++i) sum.at[i] += values.at[i];
    }
    store_octet(thread, partial + std::int64_t(part) * x.columns + column, sum, x.columns - column, false);
  }
};

/// result += column sums of x. `scratch`: parts_of(x.rows) · columns floats.
template <class T, class G>
void add_column_sums(Session& session, const Matrix<const T>& x, Elements<G> result, Arena& scratch) {
  const int parts = parts_of(x.rows);
  float* const partial = scratch.take<float>(std::int64_t(parts) * x.columns);
  constexpr int columns = SumColumns<T>::threads * octet;
  session.launch(parts * ((x.columns + columns - 1) / columns), SumColumns<T>{x, x.rows, parts, partial});
  session.launch((x.columns + warp_size - 1) / warp_size, AddColumns<G>{partial, parts, x.columns, result.data()});
}

template <class P>
void run_op(Session& session, const op::Linear<P>& op, Numbers) {
  using T = typename P::Activation;
  if (op.x.rows == 0) return;
  session.products()(session.stream(), op.x, false, Matrix<const T>(op.weight), true, 0, Matrix<const T>{}, op.y,
                     Elements<const T>(op.bias));
}

template <class P>
void run_op(Session& session, const op::LinearBackwardInput<P>& op, Numbers) {
  if (op.dy.rows == 0) return;
  const auto multiply = [&](auto dx) {
    using R = std::remove_pointer_t<decltype(dx.data)>;
    Matrix<const R> skip;
    if constexpr (std::is_same_v<R, typename P::Stream>) skip = op.skip.value;
    const double beta = skip ? op.skip.scale : 0;
    session.products()(session.stream(), op.dy, false, op.weight, false, beta, skip, dx);
  };
  if constexpr (branches_read_stream<P>) {
    multiply(op.dx);
  } else if (op.dx.stream) {
    multiply(op.dx.stream);
    if (op.dx.branch) convert(session, op.dx.stream, op.dx.branch);
  } else if (rounds_after(op)) {
    Arena scratch = session.scratch();
    const Matrix<typename P::Stream> sum(scratch.take<typename P::Stream>(std::int64_t(op.dx.rows) * op.dx.columns),
                                         op.dx.rows, op.dx.columns);
    multiply(sum);
    convert(session, sum, op.dx.branch);
  } else {
    multiply(op.dx.branch);
  }
}

template <class P>
void run_op(Session& session, const op::LinearBackwardWeight<P>& op, Numbers) {
  if (op.x.rows == 0) return;
  session.products()(session.stream(), op.dy, true, op.x, false, 1, Matrix<const typename P::Gradient>(op.dweight),
                     op.dweight);
  if (op.dbias.empty()) return;
  Arena scratch = session.scratch();
  add_column_sums(session, op.dy, op.dbias, scratch);
}

}  // namespace fathom::inline FATHOM_ABI::cuda
