// expect: Rotary<.*an op that this backend does not have|an op that this backend does not have.*Rotary<
// SPDX-License-Identifier: Apache-2.0
#include <concepts>
#include <fathom/backend/context.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/testing/layer_run.hpp>

using namespace fathom;

struct WithoutRotary : Ref<double> {
  template <class Op>
    requires(!std::same_as<Op, op::Rotate<Double>>)
  static void run(Lane& lane, const Op& op) {
    Ref<double>::run(lane, op);
  }
};

void forward() { testing::LayerRun<Attention<8, 2, Causal, Rotary<>>, WithoutRotary>().forward(); }
