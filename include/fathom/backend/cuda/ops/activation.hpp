// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/prepared.hpp>
#include <fathom/backend/cuda/rows.hpp>
#include <fathom/backend/cuda/session.hpp>
#include <fathom/backend/ops/activation.hpp>
#include <fathom/core/config.hpp>
#include <numbers>

namespace fathom::inline FATHOM_ABI::cuda {

/// An activation function and its derivative at one point.
struct CurvePoint {
  float value, slope;
};

constexpr CurvePoint activation_at(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::relu:
      return {x < 0 ? 0.f : x, x > 0 ? 1.f : x <= 0 ? 0.f : x};  // a NaN stays one
    case ActivationKind::gelu: {
      const float below = std::erfc(-x / std::numbers::sqrt2_v<float>) / 2;
      const float density = std::exp(-x * x / 2) * (std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>);
      return {x * below, below + x * density};
    }
    case ActivationKind::gelu_tanh: {
      constexpr float root = std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;  // sqrt(2 / pi)
      constexpr float cubic = 0.044715f;
      const float tanh = std::tanh(root * (x + cubic * x * x * x));
      return {x * (1 + tanh) / 2, (1 + tanh) / 2 + x * (1 - tanh * tanh) / 2 * root * (1 + 3 * cubic * x * x)};
    }
    case ActivationKind::silu: {
      const float sigmoid = 1 / (1 + std::exp(-x));
      return {x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))};
    }
  }
  return {};
}

/// y = dropout(act(x) ⊙ gate), if it is wanted; with dy also dx. `gate`: the second half of x's columns, or absent.
template <class P>
struct ActivationRows {
  static constexpr const char* name = "activation";
  static constexpr int threads = 256;
  using T = typename P::Activation;
  ActivationKind kind;
  MaskOf mask;
  PlacesOf places;
  RowsOf<const T> x, gate, dy;
  RowsOf<T> dx, dgate, y;
  int rows, columns;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    each_octet(thread, threads, rows, columns, [&](int row, int column) {
      const Octet in = x.load(thread, row, column);
      Octet gates, keep;
      for (int e = 0; e < octet; ++e) gates.at[e] = keep.at[e] = 1;
      if (gate) gates = gate.load(thread, row, column);
      if (mask.active()) mask.apply(thread, places.place(thread, row), column, keep);
      Octet out, gradient, gate_gradient;
      if (dy) gradient = dy.load(thread, row, column);
      for (int e = 0; e < octet; ++e) {
        const CurvePoint curve = activation_at(kind, in.at[e]);
        const float d = gradient.at[e] * keep.at[e];
        out.at[e] = curve.value * gates.at[e] * keep.at[e];
        gradient.at[e] = d * curve.slope * gates.at[e];
        gate_gradient.at[e] = d * curve.value;
      }
      if (dx) dx.store(thread, row, column, gradient);
      if (dgate) dgate.store(thread, row, column, gate_gradient);
      if (y) y.store(thread, row, column, out);
    });
  }
};

/// A half of the columns of a gated matrix, or all of one that is not.
template <class T>
Matrix<T> half_of(const Matrix<T>& x, bool gated, int half) {
  if (!gated) return half == 0 ? x : Matrix<T>{};
  return x.columns_at(half * (x.columns / 2), x.columns / 2);
}

/// Forward, and with dy and dx backward.
template <class P, class Op>
void run_activation(Session& session, const OnRows<Op>& packed, Numbers numbers,
                    const Matrix<const typename P::Activation>& dy, const Matrix<typename P::Activation>& dx) {
  const Op& op = packed.op;
  const int rows = op.x.rows, columns = op.gated ? op.x.columns / 2 : op.x.columns;
  if (rows == 0) return;
  using K = ActivationRows<P>;
  session.launch(octet_blocks<K>(rows, columns), K{op.kind,
                                                   {op.dropout.rate, numbers.next<Key>()},
                                                   PlacesOf(packed.rows),
                                                   half_of(op.x, op.gated, 0),
                                                   half_of(op.x, op.gated, 1),
                                                   dy,
                                                   half_of(dx, op.gated, 0),
                                                   half_of(dx, op.gated, 1),
                                                   op.y,
                                                   rows,
                                                   columns});
}

template <class P>
void run_op(Session& session, const OnRows<op::Activation<P>>& packed, Numbers numbers) {
  run_activation<P>(session, packed, numbers, {}, {});
}
template <class P>
void run_op(Session& session, const OnRows<op::ActivationBackward<P>>& packed, Numbers numbers) {
  run_activation<P>(session, packed, numbers, packed.op.dy, packed.op.dx);
}

}  // namespace fathom::inline FATHOM_ABI::cuda
