// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/random.hpp>

namespace fathom::inline FATHOM_ABI::ref {

template <class T>
void run(const Packing&, const op::Initialize<Uniform<T>>& op) {
  const Philox random(op.key);
  for (std::size_t i = 0; i < op.x.size(); i += 2) {
    const auto pair = op.deviation == 0 ? std::array<double, 2>{} : normals(random(std::uint64_t(i / 2)));
    op.x[i] = T(op.center + op.deviation * pair[0]);
    if (i + 1 < op.x.size()) op.x[i + 1] = T(op.center + op.deviation * pair[1]);
  }
}

template <class, class T>
void run(const Packing&, const op::FirstNonFinite<T>& op) {
  *op.result = -1;
  for (int n = 0; n < op.x.rows; ++n)
    for (int c = 0; c < op.x.columns; ++c)
      if (*op.result < 0 && !std::isfinite(op.x.row(n)[c])) *op.result = std::int64_t(n) * op.x.columns + c;
}

template <class T>
void run(const Packing&, const op::TensorSquares<Uniform<T>>& op) {
  for (std::size_t k = 0; k < op.table.size(); ++k) {
    double sum = 0;
    for (const T x : op.x.part(op.table[k].offset, std::size_t(op.table[k].size()))) sum += double(x) * double(x);
    op.results[k] = sum;
  }
}

template <class T>
void run(const Packing&, const op::SumOfSquares<Uniform<T>>& op) {
  T sum = 0;
  for (const T x : op.x) sum += x * x;
  *op.result = sum;
}

template <class T>
void run(const Packing&, const op::Scale<Uniform<T>>& op) {
  for (T& x : op.x) x = op.factor == 0 ? T(0) : x * T(op.factor);
}

template <class T>
void run(const Packing&, const op::Average<Uniform<T>>& op) {
  for (std::size_t i = 0; i < op.x.size(); ++i)
    op.average[i] = T(op.decay) * op.average[i] + (1 - T(op.decay)) * op.x[i];
}

/// Calls f(i, weight i, its gradient) for every weight and clears the gradients.
template <class T>
void each_weight(const UpdateTarget<Uniform<T>>& target, auto&& f) {
  for (std::size_t i = 0; i < target.weights.size(); ++i) {
    f(i, target.weights[i], target.gradient[i] * T(target.gradient_scale));
    target.gradient[i] = 0;
  }
}

template <class T>
void run(const Packing&, const op::Sgd<Uniform<T>>& op) {
  const T rate = T(op.target.learning_rate), decay = T(op.target.weight_decay), factor = T(op.momentum_factor);
  each_weight(op.target, [&](std::size_t i, T& w, T g) {
    g += decay * w;
    if (op.momentum.empty()) {
      w -= rate * g;
    } else {
      T& m = op.momentum[i];
      m = factor * m + g;
      w -= rate * (op.nesterov ? g + factor * m : m);
    }
  });
}

template <class T>
void run(const Packing&, const op::Adam<Uniform<T>>& op) {
  const T rate = T(op.target.learning_rate), decay = T(op.target.weight_decay);
  const T beta1 = T(op.beta1), beta2 = T(op.beta2);
  const T correction1 = T(1 - std::pow(op.beta1, double(op.step)));
  const T correction2 = T(1 - std::pow(op.beta2, double(op.step)));
  each_weight(op.target, [&](std::size_t i, T& w, T g) {
    if (op.decoupled) {
      w *= 1 - rate * decay;
    } else {
      g += decay * w;
    }
    T &m = op.first[i], &v = op.second[i];
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    w -= rate * (m / correction1) / (std::sqrt(v / correction2) + T(op.epsilon));
  });
}

template <class T>
void run(const Packing&, const op::Lion<Uniform<T>>& op) {
  const T rate = T(op.target.learning_rate), decay = T(op.target.weight_decay);
  const T beta1 = T(op.beta1), beta2 = T(op.beta2);
  const auto sign = [](T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x; };  // a NaN stays one
  each_weight(op.target, [&](std::size_t i, T& w, T g) {
    T& m = op.momentum[i];
    w -= rate * (sign(beta1 * m + (1 - beta1) * g) + decay * w);
    m = beta2 * m + (1 - beta2) * g;
  });
}

template <class T>
void run(const Packing&, const op::Adafactor<Uniform<T>>& op) {
  const T beta = T(1 - std::pow(double(op.step), -op.decay_exponent));
  const T rate = T(std::min(op.target.learning_rate, 1 / std::sqrt(double(op.step))));
  const T shrinkage = T(op.target.learning_rate * op.target.weight_decay);
  T* moment = op.moments.data();
  for (const TensorPlace& info : op.table) {
    const int rows = info.rows, columns = info.columns;
    T* w = op.target.weights.data() + info.offset;
    T* g = op.target.gradient.data() + info.offset;
    T* r = info.vector ? nullptr : moment;
    T* c = info.vector ? moment : moment + rows;
    moment = c + columns;

    for (int i = 0; r != nullptr && i < rows; ++i) r[i] = beta * r[i] + (1 - beta) * T(op.epsilon1);
    for (int j = 0; j < columns; ++j) c[j] = beta * c[j] + (1 - beta) * T(op.epsilon1);
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) {
        T& x = g[i * columns + j];
        x *= T(op.target.gradient_scale);
        if (r != nullptr) r[i] += (1 - beta) * x * x / T(columns);
        c[j] += (1 - beta) * x * x / T(rows);
      }
    T mean_r = 0;
    for (int i = 0; r != nullptr && i < rows; ++i) mean_r += r[i] / T(rows);

    T mean_w2 = 0, mean_u2 = 0;
    const T size = T(rows) * T(columns);
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) {
        T& u = g[i * columns + j];
        u /= std::sqrt(r != nullptr ? r[i] / mean_r * c[j] : c[j]);
        mean_u2 += u * u / size;
        mean_w2 += w[i * columns + j] * w[i * columns + j] / size;
      }
    const T length =
        std::max(T(op.epsilon2), std::sqrt(mean_w2)) * rate / std::max(T(1), std::sqrt(mean_u2) / T(op.clip_threshold));
    for (int n = 0; n < rows * columns; ++n) {
      w[n] -= (info.decayed ? shrinkage * w[n] : T(0)) + length * g[n];
      g[n] = 0;
    }
  }
}

}  // namespace fathom::inline FATHOM_ABI::ref
