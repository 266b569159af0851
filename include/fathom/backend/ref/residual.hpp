// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/norm.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class T>
void run(const Packing& packing, const op::ResidualAdd<Uniform<T>>& op) {
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < op.y.columns; ++c)
      op.y.row(n)[c] =
          (op.x ? at(op.a, c) * op.x.row(n)[c] : T(0)) + at(op.b, c) * factor<T>(op.dropout, place, c) * op.f.row(n)[c];
  });
}

template <class T>
void run(const Packing& packing, const op::ResidualAddBackward<Uniform<T>>& op) {
  each_row(packing, [&](int n, Place place) {
    for (int c = 0; c < op.dy.columns; ++c) {
      const T dy = op.dy.row(n)[c], kept = dy * factor<T>(op.dropout, place, c);
      if (!op.da.empty()) op.da[op.da.size() == 1 ? 0 : c] += T(op.a.constant) * dy * op.x.row(n)[c];
      if (!op.db.empty()) op.db[op.db.size() == 1 ? 0 : c] += T(op.b.constant) * kept * op.f.row(n)[c];
      if (op.dx) op.dx.row(n)[c] = at(op.a, c) * dy;
      if (op.df) op.df.row(n)[c] = at(op.b, c) * kept;
    }
  });
}

template <class T>
void run(const Packing& packing, const op::ResidualAddNorm<Uniform<T>>& op) {
  run(packing, op::ResidualAdd<Uniform<T>>{op.x, op.f, op.a, op.b, op.dropout, op.z});
  run(packing, op::Norm<Uniform<T>>{op.kind, op.epsilon, op.z, op.gain, op.bias, op.y, op.mean, op.rstd});
}

template <class T>
void run(const Packing&, const op::WeightedSum<Uniform<T>>& op) {
  for (int n = 0; n < op.y.rows; ++n)
    for (int c = 0; c < op.y.columns; ++c) {
      T sum = 0;
      for (int k = 0; k < op.count; ++k) sum += op.weights[k] * op.first.row(n)[k * op.pitch + c];
      op.y.row(n)[c] = sum;
    }
}

template <class T>
void run(const Packing&, const op::WeightedSumBackward<Uniform<T>>& op) {
  for (int n = 0; n < op.dy.rows; ++n)
    for (int c = 0; c < op.dy.columns; ++c)
      for (int k = 0; k < op.count; ++k) {
        op.dfirst.row(n)[k * op.pitch + c] += op.weights[k] * op.dy.row(n)[c];
        op.dweights[k] += op.dy.row(n)[c] * op.first.row(n)[k * op.pitch + c];
      }
}

template <class T>
void run(const Packing&, const op::Variance<Uniform<T>>& op) {
  const auto mean_over_all = [&](auto&& f) {
    T sum = 0;
    for (int n = 0; n < op.x.rows; ++n)
      for (int c = 0; c < op.x.columns; ++c) sum += f(op.x.row(n)[c]);
    return sum / (T(op.x.rows) * T(op.x.columns));
  };
  const T mean = mean_over_all([](T x) { return x; });
  *op.result = mean_over_all([mean](T x) { return (x - mean) * (x - mean); });
}

template <class T>
void run(const Packing&, const op::Copy<Uniform<T>>& op) {
  for (int n = 0; n < op.x.rows; ++n)
    for (int c = 0; c < op.x.columns; ++c) op.y.row(n)[c] = (op.add ? op.y.row(n)[c] : T(0)) + op.x.row(n)[c];
}

template <class T>
void run(const Packing&, const op::Zero<Uniform<T>>& op) {
  for (int n = 0; n < op.y.rows; ++n)
    for (int c = 0; c < op.y.columns; ++c) op.y.row(n)[c] = 0;
}

}  // namespace fathom::inline FATHOM_ABI::ref
