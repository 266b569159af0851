// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <limits>
#include <vector>

namespace fathom::inline FATHOM_ABI::ref {

/// With logits l, p = softmax(l) and the target t, the derivative of the loss by l_v is
/// (1 − smoothing) (p_v − [v = t]) + smoothing (p_v − 1 / V) + 2 z_loss log Z p_v.
template <class P>
void run(const Packing&, const op::LinearCrossEntropy<P>& op) {
  using C = Compute<P>;
  const int width = op.x.columns, vocabulary = op.weight.rows;
  const C smoothing = C(op.options.smoothing), z_loss = C(op.options.z_loss);
  LossSums sums;
  Indexed<std::vector<C>> logit(vocabulary);
  Sums<Sum<P>, typename P::Gradient> dweight(op.dweight), dbias(op.dbias);
  for (int n = 0; n < op.x.rows; ++n) {
    const auto x = [&](int c) { return C(op.x.row(n)[c]); };
    if (op.dx)
      for (int c = 0; c < width; ++c) store(op.dx, n, c, C(0));
    const int target = op.targets[n];
    if (target < 0) continue;

    for (int v = 0; v < vocabulary; ++v) {
      Sum<P> sum(op.bias.empty() ? C(0) : C(op.bias[v]));
      for (int c = 0; c < width; ++c) sum += x(c) * C(op.weight.row(v)[c]);
      logit[v] = C(sum);
    }
    const C largest = *std::max_element(logit.begin(), logit.end());
    Sum<P> sum(C(0)), sum_of_logits(C(0));
    for (const C l : logit) {
      sum += std::exp(l - largest);
      sum_of_logits += l / C(vocabulary);
    }
    const C log_z = largest + std::log(C(sum)), mean_logit = C(sum_of_logits);

    sums.cross_entropy += log_z - logit[target];
    sums.smoothing += log_z - mean_logit;
    sums.z += log_z * log_z;
    sums.targets += 1;
    sums.correct += logit[target] >= largest;

    if (!op.dx) continue;
    Sums<Sum<P>, typename P::Stream> dx(op.dx.block(n, 1));
    for (int v = 0; v < vocabulary; ++v) {
      const C p = std::exp(logit[v] - log_z);
      const C d = C(op.target_weight) * ((1 - smoothing) * (p - (v == target ? C(1) : C(0))) +
                                         smoothing * (p - 1 / C(vocabulary)) + 2 * z_loss * log_z * p);
      for (int c = 0; c < width; ++c) {
        dx[c] += d * C(op.weight.row(v)[c]);
        dweight(v, c) += d * x(c);
      }
      if (!op.dbias.empty()) dbias[v] += d;
    }
    dx.round();
  }
  dweight.round(), dbias.round();
  *op.sums = sums;
}

template <class P>
void run(const Packing&, const op::RankLogits<P>& op) {
  using C = Compute<P>;
  constexpr C infinity = std::numeric_limits<C>::infinity();
  for (int n = 0; n < op.logits.rows; ++n) {
    const auto logit = [&](int v) { return C(op.logits.row(n)[v]); };
    std::vector<int> order;
    bool finite = true;
    for (int v = 0; v < op.logits.columns; ++v) {
      if (logit(v) > -infinity) order.push_back(v);
      finite &= logit(v) < infinity;
    }
    op.log_sum[n] = std::numeric_limits<typename P::Statistic>::quiet_NaN();
    for (int k = 0; k < op.values.columns; ++k) store(op.values, n, k, -infinity);
    std::fill_n(op.indices.row(n), op.indices.columns, -1);
    if (!finite || order.empty()) continue;
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return logit(a) > logit(b) || (logit(a) == logit(b) && a < b); });
    const C top = logit(order.front());
    Sum<P> sum(C(0));
    for (int v = 0; v < op.logits.columns; ++v) sum += std::exp(logit(v) - top);
    op.log_sum[n] = typename P::Statistic(top + std::log(C(sum)));
    order.resize(std::min(order.size(), std::size_t(op.values.columns)));
    for (int k = 0; k < int(order.size()); ++k) {
      store(op.values, n, k, logit(order[std::size_t(k)]));
      op.indices.row(n)[k] = order[std::size_t(k)];
    }
  }
}

}  // namespace fathom::inline FATHOM_ABI::ref
