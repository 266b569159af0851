// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

namespace norm_test {

using namespace fathom_test;

using sample::Into;

constexpr int width = 36;
constexpr auto norms = {NormKind::layer, NormKind::rms};

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

}  // namespace norm_test
