// SPDX-License-Identifier: Apache-2.0
#include "check_op.hpp"

using namespace fathom_test;

TEST_CASE("linear + cross-entropy", "[cpu][threads]") {
  constexpr int width = 20;
  for (const int vocabulary : {7, 300, 20'000})  // the last one in several chunks
    for (const bool bias : {false, true})
      for (const bool gradients : {false, true})
        for (const LossOptions options : {LossOptions{}, LossOptions{.smoothing = 0.1, .z_loss = 1e-2}}) {
          const auto make = [=]<class P>(Operands<P>& o) {
            using T = typename P::Gradient;
            return op::LinearCrossEntropy<P>{.x = o.rows_of(width),
                                             .weight = o.values(vocabulary, width),
                                             .bias = o.values(bias ? vocabulary : 0),
                                             .targets = o.integers(-2, vocabulary),
                                             .options = options,
                                             .normalizer = 0.25,
                                             .sums = &o.sums,
                                             .dx = gradients ? o.poison(width) : Matrix<T>{},
                                             .dweight = gradients ? o.values(vocabulary, width) : Matrix<T>{},
                                             .dbias = o.values(bias && gradients ? vocabulary : 0)};
          };
          if (vocabulary < 1000)
            check_op(make);
          else if (bias && options.z_loss > 0)
            check_op(all_rows()[2], make);
        }
}
