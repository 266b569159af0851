// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cuda/passes.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/linear.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::cuda {

template <class P>
void run_linear(Session& session, const op::LinearForward<P>& op, bool relu) {
  using T = typename P::Activation;
  if (op.x.rows == 0) return;
  session.products()(session.stream(), op.x, false, Matrix<const T>(op.weight), true, 0, Matrix<const T>{}, op.y,
                     {.bias = op.bias, .relu = relu});
}
template <class P>
void run_op(Session& session, const op::LinearForward<P>& op, Numbers) {
  run_linear(session, op, false);
}
template <class P>
void run_op(Session& session, const WithRelu<P>& with, Numbers) {
  run_linear(session, with.op, true);
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
    if (op.dx.branch) copy_rows(session, Matrix<const typename P::Stream>(op.dx.stream), op.dx.branch);
  } else if (rounds_after(op)) {
    Arena scratch = session.scratch();
    const Matrix<typename P::Stream> sum(scratch.take<typename P::Stream>(std::int64_t(op.dx.rows) * op.dx.columns),
                                         op.dx.rows, op.dx.columns);
    multiply(sum);
    copy_rows(session, Matrix<const typename P::Stream>(sum), op.dx.branch);
  } else {
    multiply(op.dx.branch);
  }
}

template <class P>
void run_op(Session& session, const op::LinearBackwardWeight<P>& op, Numbers) {
  if (op.x.rows == 0) return;
  session.products()(session.stream(), op.dy, true, op.x, false, 1, Matrix<const typename P::Gradient>(op.dweight),
                     op.dweight);
  if (!op.dbias.empty()) session.sums().add(session.stream(), op.dy, op.dbias.data());
}

}  // namespace fathom::inline FATHOM_ABI::cuda
