// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cpu/activation.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/deferred.hpp>
#include <fathom/backend/cpu/rows.hpp>
#include <fathom/backend/ops.hpp>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Calls f with the kernel's tag of an activation.
template <class F>
void with_activation(ActivationKind kind, F&& f) {
  switch (kind) {
    case ActivationKind::relu:
      return f(ReluKernel{});
    case ActivationKind::gelu:
      return f(GeluKernel{});
    case ActivationKind::gelu_tanh:
      return f(GeluTanhKernel{});
    case ActivationKind::silu:
      return f(SiluKernel{});
  }
}

/// Activations, with or without a gate. Every lane takes its own rows.
template <class P, class Matmul>
struct ActivationOps {
  using T = typename P::Activation;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static void run(Lane& lane, const op::Activation<P>& op) {
    const Range rows = lane.share().rows;
    const auto width = std::size_t(op.y.columns);
    with_activation(op.kind, [&]<class Kind>(Kind) {
      each_piece(rows, op.x.contiguous() && op.y.contiguous(), [&](int first, std::size_t count) {
        if (op.gated)
          gated_forward<Kind, T>(count, width, op.x.row(first), op.y.row(first));
        else
          activation_forward<Kind, T>(count * width, op.x.row(first), op.y.row(first));
      });
    });
    if (op.dropout.active()) drop_rows(lane.packing(), rows, op.dropout, op.y);
  }

  static void run(Lane& lane, const op::ActivationBackward<P>& op) {
    const Range rows = lane.share().rows;
    const auto width = std::size_t(op.dy.columns);
    Matrix<const T> dy = op.dy;
    if (op.dropout.active()) {  // the factors act on dy before the slope and on y behind the activation
      copy_rows<T>(rows, dy, op.y);
      drop_rows(lane.packing(), rows, op.dropout, op.y);
      dy = op.y;
    }
    const bool contiguous = op.x.contiguous() && dy.contiguous() && op.dx.contiguous() && op.y.contiguous();
    with_activation(op.kind, [&]<class Kind>(Kind) {
      each_piece(rows, contiguous, [&](int first, std::size_t count) {
        const T *x = op.x.row(first), *d = dy.row(first);
        T *dx = op.dx.row(first), *y = op.y.row(first);
        if (op.gated)
          gated_backward<Kind, T>(count, width, x, d, dx, y);
        else
          activation_backward<Kind, T>(count * width, x, d, dx, y);
      });
    });
    if (op.dropout.active()) drop_rows(lane.packing(), rows, op.dropout, op.y);
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
