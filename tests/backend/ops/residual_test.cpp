// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

namespace residual_test {

using namespace fathom_test;

using sample::Into;
using sample::Learned;

constexpr int width = 36;
constexpr auto norms = {NormKind::layer, NormKind::rms};
constexpr Learned learned_factors[] = {{0, 0}, {1, 0}, {0, 1}, {width, width}};

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
    check_op<TestType>([=](auto& o) { return sample::residual_add_backward(o, width, learned, dx, df); },
                       {.dropout = true});
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

TEMPLATE_LIST_TEST_CASE("residual add + norm, backward", "[ops][threads]", Backends) {
  for (const auto kind : norms)
    for (const auto into : {Into::own, Into::dy})
      for (const bool df : {false, true})
        for (const double b : {1.0, 0.75})
          check_op<TestType>([=](auto& o) { return sample::residual_add_norm_backward(o, kind, width, b, df, into); },
                             {.dropout = true});
}

TEMPLATE_LIST_TEST_CASE("residual add + norm of rows that several warps have", "[ops][threads]", Backends) {
  for (const int wide : {300, 600, 2100})
    for (const std::size_t rows : {std::size_t(0), all_rows().size() - 1}) {
      check_op<TestType>(all_rows()[rows],
                         [=](auto& o) { return sample::residual_add_norm(o, NormKind::layer, wide, {}); });
      check_op<TestType>(all_rows()[rows], [=](auto& o) {
        return sample::residual_add_norm_backward(o, NormKind::layer, wide, 0.75, true);
      });
    }
}

TEMPLATE_LIST_TEST_CASE("copy and zero", "[ops][threads]", Backends) {
  for (const bool add : {false, true}) check_op<TestType>([=](auto& o) { return sample::copy(o, width, add); });
  check_op<TestType>([](auto& o) { return sample::zero(o, width); });
}

TEMPLATE_LIST_TEST_CASE("weighted sum, forward and backward", "[ops][threads]", Backends) {
  check_op<TestType>([](auto& o) { return sample::weighted_sum(o, width, 0); });
  for (const int count : {1, 3}) {
    check_op<TestType>([=](auto& o) { return sample::weighted_sum(o, width, count); });
    check_op<TestType>([=](auto& o) { return sample::weighted_sum_backward(o, width, count); });
  }
}

TEMPLATE_LIST_TEST_CASE("variance", "[ops][threads]", Backends) {
  for (const OpRows& rows : all_rows())
    if (rows.packing.rows() > 0) check_op<TestType>(rows, [](auto& o) { return sample::variance(o, width); });
}

}  // namespace residual_test
