// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/cpu/matmul/eigen.hpp>

#include "backend/ops/check_op.hpp"

namespace linear_test {

using namespace fathom_test;

constexpr int in = 36, out = 52;

TEMPLATE_LIST_TEST_CASE("linear", "[ops][threads]", Backends) {
  for (const bool bias : {false, true}) check_op<TestType>([=](auto& o) { return sample::linear(o, in, out, bias); });
}

TEMPLATE_LIST_TEST_CASE("linear, input gradient", "[ops][threads]", Backends) {
  using sample::Into;
  for (const bool skip : {false, true})
    for (const Into into : {Into::own, Into::skip}) {
      if (into == Into::skip && !skip) continue;
      check_op<TestType>([=](auto& o) { return sample::linear_backward_input(o, in, out, skip, into); });
    }
}

TEMPLATE_LIST_TEST_CASE("linear, weight gradient", "[ops][threads]", Backends) {
  const auto make = [](bool bias) { return [=](auto& o) { return sample::linear_backward_weight(o, in, out, bias); }; };
  check_op<TestType>(make(false));
  check_op<TestType>(make(true));
  check_op<TestType>(all_rows().back(), make(true), {.times = 3});  // cut by cost, not one by one
}

TEST_CASE("linear by Eigen, whose sums depend on the rows of a call", "[ops][threads]") {
  using Eigen = Cpu<Single, cpu::EigenMatmul>;
  check_op<Eigen>([](auto& o) { return sample::linear(o, in, out, true); });
  check_op<Eigen>([](auto& o) { return sample::linear_backward_input(o, in, out, true); });
  check_op<Eigen>([](auto& o) { return sample::linear_backward_weight(o, in, out, true); });
}

}  // namespace linear_test
