// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

using namespace fathom_test;

namespace {
constexpr int width = 36;
}  // namespace

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

TEMPLATE_LIST_TEST_CASE("embedding, forward and backward", "[ops][threads]", Backends) {
  constexpr int vocabulary = 11;
  using sample::Positions;
  for (const auto positions : {Positions::none, Positions::learned, Positions::neighbours, Positions::halves}) {
    check_op<TestType>([=](auto& o) { return sample::embedding(o, width, vocabulary, positions); }, {.dropout = true});
    for (const bool table : {false, true})
      check_op<TestType>([=](auto& o) { return sample::embedding_backward(o, width, vocabulary, positions, table); },
                         {.dropout = true});
  }
}
