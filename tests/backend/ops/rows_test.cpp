// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

using namespace fathom_test;

namespace {

using sample::Into;
using sample::Learned;

constexpr int width = 36;
constexpr auto activations = {ActivationKind::relu, ActivationKind::gelu, ActivationKind::gelu_tanh,
                              ActivationKind::silu};
constexpr auto norms = {NormKind::layer, NormKind::rms};
constexpr Learned learned_factors[] = {{0, 0}, {1, 0}, {0, 1}, {width, width}};

}  // namespace

TEMPLATE_LIST_TEST_CASE("activation", "[ops][threads]", Backends) {
  for (const auto kind : activations)
    for (const bool gated : {false, true})
      check_op<TestType>([=](auto& o) { return sample::activation(o, kind, gated, width); }, {.dropout = true});
}

TEMPLATE_LIST_TEST_CASE("activation, backward", "[ops][threads]", Backends) {
  for (const auto kind : activations)
    for (const bool gated : {false, true})
      for (const Into into : {Into::own, Into::dy}) {
        if (gated && into == Into::dy) continue;
        check_op<TestType>([=](auto& o) { return sample::activation_backward(o, kind, gated, width, into); },
                           {.dropout = true});
      }
}

TEMPLATE_LIST_TEST_CASE("norm", "[ops][threads]", Backends) {
  for (const auto kind : norms)
    for (const bool bias : {false, true})
      check_op<TestType>([=](auto& o) { return sample::norm(o, kind, width, bias); });
}

TEMPLATE_LIST_TEST_CASE("norm, backward", "[ops][threads]", Backends) {
  for (const auto kind : norms)
    for (const bool skip : {false, true})
      for (const auto into : {Into::own, Into::dy, Into::skip}) {
        if (into == Into::skip && !skip) continue;
        const bool bias = (kind == NormKind::layer) == (into != Into::dy);
        check_op<TestType>([=](auto& o) { return sample::norm_backward(o, kind, width, bias, skip, into); });
      }
}

TEMPLATE_LIST_TEST_CASE("norm, backward, more often than a lane can put work off", "[ops][threads]", Backends) {
  const auto make = [](auto& o) {
    const bool late = o.blocks().size() > 400;  // in the second half of the frame, with larger partial sums
    return sample::norm_backward(o, NormKind::layer, late ? 64 : 4, true, false);
  };
  check_op<TestType>(all_rows().back(), make, {.times = 90});
}

TEMPLATE_LIST_TEST_CASE("residual add", "[ops][threads]", Backends) {
  for (const auto into : {Into::own, Into::x, Into::f})
    for (const Learned& learned : learned_factors)
      check_op<TestType>([=](auto& o) { return sample::residual_add(o, width, learned, into); }, {.dropout = true});
}

TEMPLATE_LIST_TEST_CASE("residual add without x", "[ops][threads]", Backends) {
  for (const int learned : {0, 1, width})
    for (const auto into : {Into::own, Into::f})
      check_op<TestType>(
          [=](auto& o) {
            auto op = sample::residual_add(o, width, {.a = 0, .b = learned}, into);
            op.x = {};
            return op;
          },
          {.dropout = true});
}

TEMPLATE_LIST_TEST_CASE("residual add, backward", "[ops][threads]", Backends) {
  const auto check = [](const Learned& learned, bool dx, bool df) {
    check_op<TestType>([=](auto& o) { return sample::residual_add_backward(o, width, learned, dx, df); }, {.dropout = true});
  };
  for (const Learned& learned : learned_factors)
    for (const bool dx : {false, true})
      for (const bool df : {false, true})
        if (learned.b == 0 || df) check(learned, dx, df);
  check({.a = width, .b = 1, .gradients = false}, true, true);
}

TEMPLATE_LIST_TEST_CASE("shift", "[ops][threads]", Backends) {
  for (const auto into : {Into::own, Into::x})
    check_op<TestType>([=](auto& o) { return sample::shift(o, width, into); });
}

TEMPLATE_LIST_TEST_CASE("shift, backward", "[ops][threads]", Backends) {
  check_op<TestType>([=](auto& o) { return sample::shift_backward(o, width); });
}

TEMPLATE_LIST_TEST_CASE("residual add + norm", "[ops][threads]", Backends) {
  for (const auto kind : norms)
    for (const auto into : {Into::own, Into::f})
      for (const Learned& learned : learned_factors)
        check_op<TestType>([=](auto& o) { return sample::residual_add_norm(o, kind, width, learned, into); },
                           {.dropout = true});
}
