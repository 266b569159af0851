// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>

#include "backend/ops/operands.hpp"

namespace fathom_test::sample {

template <class P>
op::LinearCrossEntropy<P> linear_cross_entropy(Operands<P>& o, int width, int vocabulary, bool bias, bool gradients,
                                               const LossOptions& options) {
  return {.x = o.rows_of(width),
          .weight = o.values(vocabulary, width),
          .bias = o.values(bias ? vocabulary : 0),
          .targets = o.integers(-2, vocabulary),
          .options = options,
          .target_weight = 0.25,
          .sums = &o.sums,
          .dx = o.poison(gradients ? o.count() : 0, width),
          .dweight = o.values(gradients ? vocabulary : 0, width),
          .dbias = o.values(bias && gradients ? vocabulary : 0)};
}

template <class P>
op::RankLogits<P> rank_logits(Operands<P>& o, int vocabulary, int count, bool equal) {
  using T = typename P::Activation;
  using Interval = typename Operands<P>::Interval;
  const Matrix<T> logits = o.uniform(equal ? Interval{0.5, 0.5} : Interval{-1.7, 1.7}, o.count(), vocabulary);
  for (int row = 0; row < logits.rows; ++row)  // some that are never among the largest
    for (int v = row % 3; v < vocabulary; v += 5) logits.row(row)[v] = T(-std::numeric_limits<double>::infinity());
  return {.logits = logits,
          .values = o.poisoned_rows_of(count),
          .indices = o.uniform({-7, -7}, o.count(), count),
          .log_sum = o.poison(o.count())};
}

}  // namespace fathom_test::sample
