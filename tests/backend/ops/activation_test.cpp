// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

namespace activation_test {

using namespace fathom_test;

using sample::Into;

constexpr int width = 36;
constexpr auto activations = {ActivationKind::relu, ActivationKind::gelu, ActivationKind::gelu_tanh,
                              ActivationKind::silu};

TEMPLATE_LIST_TEST_CASE("activation", "[ops][threads]", Backends) {
  for (const auto kind : activations)
    for (const bool gated : {false, true})
      for (const Into into : {Into::own, Into::x}) {
        if (gated && into == Into::x) continue;
        check_op<TestType>([=](auto& o) { return sample::activation(o, kind, gated, width, into); }, {.dropout = true});
      }
}

TEMPLATE_LIST_TEST_CASE("activation, backward", "[ops][threads]", Backends) {
  for (const auto kind : activations)
    for (const bool gated : {false, true})
      for (const Into into : {Into::own, Into::dy}) {
        if (gated && into == Into::dy) continue;
        for (const bool output : {true, false})
          check_op<TestType>([=](auto& o) { return sample::activation_backward(o, kind, gated, width, into, output); },
                             {.dropout = true});
      }
}

}  // namespace activation_test
