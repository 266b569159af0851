// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/rows.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <vector>

namespace fathom::inline FATHOM_ABI::ref {

/// With logits l, p = softmax(l) and the target t, the derivative of the loss by l_v is
/// (1 − smoothing) (p_v − [v = t]) + smoothing (p_v − 1 / V) + 2 z_loss log Z p_v.
template <class T>
void run(const Packing&, const op::LinearCrossEntropy<Uniform<T>>& op) {
  const int width = op.x.columns, vocabulary = op.weight.rows;
  const T smoothing = T(op.options.smoothing), z_loss = T(op.options.z_loss);
  LossSums sums;
  Indexed<std::vector<T>> logit(vocabulary);
  for (int n = 0; n < op.x.rows; ++n) {
    const T* x = op.x.row(n);
    if (op.dx) std::fill_n(op.dx.row(n), width, T(0));
    const int target = op.targets[n];
    if (target < 0) continue;

    for (int v = 0; v < vocabulary; ++v) {
      logit[v] = op.bias.empty() ? T(0) : op.bias[v];
      for (int c = 0; c < width; ++c) logit[v] += x[c] * op.weight.row(v)[c];
    }
    const T largest = *std::max_element(logit.begin(), logit.end());
    T sum = 0, mean_logit = 0;
    for (const T l : logit) {
      sum += std::exp(l - largest);
      mean_logit += l / T(vocabulary);
    }
    const T log_z = largest + std::log(sum);

    sums.cross_entropy += log_z - logit[target];
    sums.smoothing += log_z - mean_logit;
    sums.z += log_z * log_z;
    sums.targets += 1;
    sums.correct += logit[target] >= largest;

    if (!op.dx) continue;
    for (int v = 0; v < vocabulary; ++v) {
      const T p = std::exp(logit[v] - log_z);
      const T d = T(op.target_weight) * ((1 - smoothing) * (p - (v == target ? T(1) : T(0))) +
                                         smoothing * (p - 1 / T(vocabulary)) + 2 * z_loss * log_z * p);
      for (int c = 0; c < width; ++c) {
        op.dx.row(n)[c] += d * op.weight.row(v)[c];
        op.dweight.row(v)[c] += d * x[c];
      }
      if (!op.dbias.empty()) op.dbias[v] += d;
    }
  }
  *op.sums = sums;
}

}  // namespace fathom::inline FATHOM_ABI::ref
