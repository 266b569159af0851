// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <fathom/core/random.hpp>
#include <type_traits>
#include <vector>

namespace fathom::inline FATHOM_ABI::ref {

/// What updates compute in: the type of the masters, where it has arithmetic.
template <class P>
using UpdateNumber = std::conditional_t<std::floating_point<typename P::Master>, typename P::Master, float>;

template <class P>
void run(const Packing&, const op::Initialize<P>& op) {
  const Philox random(op.key);
  for (std::size_t i = 0; i < op.x.size(); i += 2) {
    const auto pair = op.deviation == 0 ? std::array<double, 2>{} : normals(random(std::uint64_t(i / 2)));
    op.x[i] = rounded<typename P::Master>(op.center + op.deviation * pair[0]);
    if (i + 1 < op.x.size()) op.x[i + 1] = rounded<typename P::Master>(op.center + op.deviation * pair[1]);
  }
}

template <class P>
void run(const Packing&, const op::Round<P>& op) {
  for (std::size_t i = 0; i < op.x.size(); ++i) op.y[i] = rounded<typename P::Weight>(op.x[i]);
}

template <class, class T>
void run(const Packing&, const op::FirstNonFinite<T>& op) {
  *op.result = -1;
  for (int n = 0; n < op.x.rows; ++n)
    for (int c = 0; c < op.x.columns; ++c)
      if (*op.result < 0 && !std::isfinite(op.x.row(n)[c])) *op.result = std::int64_t(n) * op.x.columns + c;
}

template <class P>
void run(const Packing&, const op::TensorSquares<P>& op) {
  for (std::size_t k = 0; k < op.table.size(); ++k) {
    double sum = 0;
    for (const auto x : op.x.part(op.table[k].offset, std::size_t(op.table[k].size()))) sum += double(x) * double(x);
    op.results[k] = sum;
  }
}

template <class P>
void run(const Packing&, const op::SumOfSquares<P>& op) {
  using C = Compute<P>;
  Sum<P> sum(C(0));
  for (const auto x : op.x) sum += C(x) * C(x);
  *op.result = C(sum);
}

template <class P>
void run(const Packing&, const op::Average<P>& op) {
  using U = UpdateNumber<P>;
  for (std::size_t i = 0; i < op.x.size(); ++i)
    op.average[i] = typename P::Master(U(op.decay) * U(op.average[i]) + (1 - U(op.decay)) * U(op.x[i]));
}

/// A number of the optimizer's, in the type that updates compute in until the end of the scope, which rounds it.
template <class U, class Master>
class Updated {
 public:
  explicit Updated(Master& stored) : stored_(stored), value_(stored) {}
  ~Updated() { stored_ = Master(value_); }
  Updated(const Updated&) = delete;
  Updated& operator=(const Updated&) = delete;
  U& operator*() { return value_; }

 private:
  Master& stored_;
  U value_;
};

/// Writes what is rounded from weight i, where it is kept.
template <class P>
void round_weight(const UpdateTarget<P>& target, std::size_t i) {
  if (!target.rounded.empty()) target.rounded[i] = rounded<typename P::Weight>(target.weights[i]);
}

/// Calls f(i, weight i, its gradient) for every weight, rounds the weights and clears the gradients.
template <class P>
void each_weight(const UpdateTarget<P>& target, auto&& f) {
  using U = UpdateNumber<P>;
  for (std::size_t i = 0; i < target.weights.size(); ++i) {
    {
      Updated<U, typename P::Master> w(target.weights[i]);
      f(i, *w, U(target.gradient[i]) * U(target.gradient_scale));
    }
    round_weight(target, i);
    target.gradient[i] = typename P::Gradient(0);
  }
}

template <class P>
void run(const Packing&, const op::SgdUpdate<P>& op) {
  using U = UpdateNumber<P>;
  const U rate = U(op.target.learning_rate), decay = U(op.target.weight_decay), factor = U(op.momentum_factor);
  each_weight(op.target, [&](std::size_t i, U& w, U g) {
    g += decay * w;
    if (op.momentum.empty()) {
      w -= rate * g;
    } else {
      Updated<U, typename P::Master> momentum(op.momentum[i]);
      U& m = *momentum;
      m = factor * m + g;
      w -= rate * (op.nesterov ? g + factor * m : m);
    }
  });
}

template <class P>
void run(const Packing&, const op::AdamUpdate<P>& op) {
  using U = UpdateNumber<P>;
  const U rate = U(op.target.learning_rate), decay = U(op.target.weight_decay);
  const U beta1 = U(op.beta1), beta2 = U(op.beta2);
  const U correction1 = U(1 - std::pow(op.beta1, double(op.step)));
  const U correction2 = U(1 - std::pow(op.beta2, double(op.step)));
  each_weight(op.target, [&](std::size_t i, U& w, U g) {
    if (op.decoupled) {
      w *= 1 - rate * decay;
    } else {
      g += decay * w;
    }
    Updated<U, typename P::Master> first(op.first[i]), second(op.second[i]);
    U &m = *first, &v = *second;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    w -= rate * (m / correction1) / (std::sqrt(v / correction2) + U(op.epsilon));
  });
}

template <class P>
void run(const Packing&, const op::LionUpdate<P>& op) {
  using U = UpdateNumber<P>;
  const U rate = U(op.target.learning_rate), decay = U(op.target.weight_decay);
  const U beta1 = U(op.beta1), beta2 = U(op.beta2);
  const auto sign = [](U x) { return x > 0 ? U(1) : x < 0 ? U(-1) : x; };  // a NaN stays one
  each_weight(op.target, [&](std::size_t i, U& w, U g) {
    Updated<U, typename P::Master> momentum(op.momentum[i]);
    U& m = *momentum;
    w -= rate * (sign(beta1 * m + (1 - beta1) * g) + decay * w);
    m = beta2 * m + (1 - beta2) * g;
  });
}

template <class P>
void run(const Packing&, const op::AdafactorUpdate<P>& op) {
  using U = UpdateNumber<P>;
  using Master = typename P::Master;
  const U beta = U(1 - std::pow(double(op.step), -op.decay_exponent));
  const U rate = U(std::min(op.target.learning_rate, 1 / std::sqrt(double(op.step))));
  const U shrinkage = U(op.target.learning_rate * op.target.weight_decay);
  Master* moment = op.moments.data();
  for (const TensorPlace& info : op.table) {
    const int rows = info.rows, columns = info.columns;
    Master* const w = op.target.weights.data() + info.offset;
    auto* const g = op.target.gradient.data() + info.offset;
    const bool is_matrix = !info.vector;
    const int row_moments = is_matrix ? rows : 0;
    Indexed<std::vector<U>> r(moment, moment + row_moments), c(moment + row_moments, moment + row_moments + columns);
    Indexed<std::vector<U>> u(g, g + info.size());

    for (int i = 0; i < row_moments; ++i) r[i] = beta * r[i] + (1 - beta) * U(op.epsilon1);
    for (int j = 0; j < columns; ++j) c[j] = beta * c[j] + (1 - beta) * U(op.epsilon1);
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) {
        U& x = u[i * columns + j];
        x *= U(op.target.gradient_scale);
        if (is_matrix) r[i] += (1 - beta) * x * x / U(columns);
        c[j] += (1 - beta) * x * x / U(rows);
      }
    U mean_r = 0;
    for (int i = 0; i < row_moments; ++i) mean_r += r[i] / U(rows);

    U mean_w2 = 0, mean_u2 = 0;
    const U size = U(rows) * U(columns);
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) {
        U& x = u[i * columns + j];
        x /= std::sqrt(is_matrix ? r[i] / mean_r * c[j] : c[j]);
        mean_u2 += x * x / size;
        mean_w2 += U(w[i * columns + j]) * U(w[i * columns + j]) / size;
      }
    const U length =
        std::max(U(op.epsilon2), std::sqrt(mean_w2)) * rate / std::max(U(1), std::sqrt(mean_u2) / U(op.clip_threshold));
    for (int n = 0; n < rows * columns; ++n) {
      const U old = U(w[n]);
      w[n] = Master(old - ((info.decayed ? shrinkage * old : U(0)) + length * u[n]));
      round_weight(op.target, std::size_t(info.offset + n));
      g[n] = typename P::Gradient(0);
    }
    for (int i = 0; i < row_moments; ++i) moment[i] = Master(r[i]);
    for (int j = 0; j < columns; ++j) moment[row_moments + j] = Master(c[j]);
    moment += row_moments + columns;
  }
}

}  // namespace fathom::inline FATHOM_ABI::ref
