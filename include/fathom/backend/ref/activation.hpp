// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>
#include <numbers>

namespace fathom::inline FATHOM_ABI::ref {

/// An activation function and its derivative at one point.
template <class T>
struct Curve {
  T value, slope;
};

template <class T>
Curve<T> activation(ActivationKind kind, T x) {
  switch (kind) {
    case ActivationKind::relu:
      return {x < 0 ? T(0) : x, x > 0 ? T(1) : x <= 0 ? T(0) : x};  // a NaN stays one
    case ActivationKind::gelu: {
      const T below = std::erfc(-x / std::numbers::sqrt2_v<T>) / 2;
      const T density = std::exp(-x * x / 2) * std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
      return {x * below, below + x * density};
    }
    case ActivationKind::gelu_tanh: {
      const T root = std::numbers::sqrt2_v<T> * std::numbers::inv_sqrtpi_v<T>, cubic = T(0.044715);  // sqrt(2 / pi)
      const T tanh = std::tanh(root * (x + cubic * x * x * x));
      return {x * (1 + tanh) / 2, (1 + tanh) / 2 + x * (1 - tanh * tanh) / 2 * root * (1 + 3 * cubic * x * x)};
    }
    case ActivationKind::silu: {
      const T sigmoid = 1 / (1 + std::exp(-x));
      return {x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))};
    }
  }
  return {};
}

template <class P>
void run(const Packing& packing, const op::Activation<P>& op) {
  using C = Compute<P>;
  const int width = op.y.columns;
  each_row(packing, [&](int n, Place place) {
    const auto* x = op.x.row(n);
    for (int c = 0; c < width; ++c) {
      const C gate = op.gated ? C(x[width + c]) : C(1);
      store(op.y, n, c, activation(op.kind, C(x[c])).value * gate * factor<C>(op.dropout, place, c));
    }
  });
}

template <class P>
void run(const Packing& packing, const op::ActivationBackward<P>& op) {
  using C = Compute<P>;
  const int width = op.dy.columns;
  each_row(packing, [&](int n, Place place) {
    const auto* x = op.x.row(n);
    for (int c = 0; c < width; ++c) {
      const Curve<C> curve = activation(op.kind, C(x[c]));
      const C gate = op.gated ? C(x[width + c]) : C(1);
      const C keep = factor<C>(op.dropout, place, c);
      const C dy = C(op.dy.row(n)[c]) * keep;
      store(op.dx, n, c, dy * curve.slope * gate);
      if (op.gated) store(op.dx, n, width + c, dy * curve.value);
      if (op.y) store(op.y, n, c, curve.value * gate * keep);
    }
  });
}

}  // namespace fathom::inline FATHOM_ABI::ref
