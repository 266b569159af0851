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
  using C = Computed<T>;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  static void run(Lane& lane, const op::Activation<P>& op) {
    const Range rows = lane.share().rows;
    const int width = op.y.columns;
    with_activation(op.kind, [&]<class Kind>(Kind) {
      if (op.dropout.active())
        return each_place<C>(lane.packing(), rows, op.dropout, width, [&](int r, auto place, auto kept) {
          const T* x = op.x.row(r);
          const Simd<C> value = Kind::at(place.load(x)).value;
          place.store(op.y.row(r), kept(op.gated ? value * place.load(x + width) : value));
        });
      each_piece(rows, op.x.contiguous() && op.y.contiguous(), [&](int first, std::size_t count) {
        if (op.gated)
          gated_forward<Kind>(count, std::size_t(width), op.x.row(first), op.y.row(first));
        else
          activation_forward<Kind>(count * std::size_t(width), op.x.row(first), op.y.row(first));
      });
    });
  }

  static void run(Lane& lane, const op::ActivationBackward<P>& op) {
    const Range rows = lane.share().rows;
    const int width = op.dy.columns;
    const bool contiguous = op.x.contiguous() && op.dy.contiguous() && op.dx.contiguous() && op.y.contiguous();
    with_activation(op.kind, [&]<class Kind>(Kind) {
      if (op.dropout.active())
        return each_place<C>(lane.packing(), rows, op.dropout, width, [&](int r, auto place, auto kept) {
          const T* x = op.x.row(r);
          T* dx = op.dx.row(r);
          const Simd<C> d = kept(place.load(op.dy.row(r)));  // the factors act on dy before the slope, and on y
          const auto [value, slope] = Kind::at(place.load(x));
          if (op.gated) {
            const Simd<C> up = place.load(x + width);
            place.store(dx, d * up * slope);
            place.store(dx + width, d * value);
            if (op.y) place.store(op.y.row(r), kept(value * up));
          } else {
            place.store(dx, d * slope);
            if (op.y) place.store(op.y.row(r), kept(value));
          }
        });
      each_piece(rows, contiguous, [&](int first, std::size_t count) {
        const T *x = op.x.row(first), *dy = op.dy.row(first);
        T *dx = op.dx.row(first), *y = op.y.row(first);
        if (op.gated)
          gated_backward<Kind>(count, std::size_t(width), x, dy, dx, y);
        else
          activation_backward<Kind>(count * std::size_t(width), x, dy, dx, y);
      });
    });
  }
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
