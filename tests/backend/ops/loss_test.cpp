// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("linear + cross-entropy", "[ops][threads]", Backends) {
  constexpr int width = 20;
  constexpr LossOptions plain, all{.smoothing = 0.1, .z_loss = 1e-2};
  for (const bool gradients : {false, true}) {
    for (const int vocabulary : {7, 300})
      for (const bool bias : {false, true})
        for (const LossOptions& options : {plain, all})
          check_op<TestType>(
              [=](auto& o) { return sample::linear_cross_entropy(o, width, vocabulary, bias, gradients, options); });
    check_op<TestType>(all_rows()[2], [=](auto& o) {  // in several chunks
      return sample::linear_cross_entropy(o, width, 20'000, true, gradients, all);
    });
  }
}
