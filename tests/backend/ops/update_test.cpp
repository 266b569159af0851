// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

#include <limits>

namespace update_test {

using namespace fathom_test;

constexpr int flat = 3 * (1 << 16) + 17;  // several shards of a flat buffer

/// Flat buffers have no rows: any will do, and there may be nothing in them.
template <class B, class Make>
void check_flat(Make make) {
  for (const int size : {0, 1, flat}) check_op<B>(all_rows().front(), [=](auto& o) { return make(o, size); });
}

TEMPLATE_LIST_TEST_CASE("passes over flat buffers", "[ops][threads]", Backends) {
  check_flat<TestType>([](auto& o, int size) { return sample::sum_of_squares(o, size); });
  check_flat<TestType>([](auto& o, int size) { return sample::average(o, size, 0.75); });
}

TEMPLATE_LIST_TEST_CASE("initial values", "[ops][threads]", Backends) {
  for (const double deviation : {0.0, 0.1})
    check_flat<TestType>([=](auto& o, int size) { return sample::initialize(o, size, deviation); });
}

TEMPLATE_LIST_TEST_CASE("the first number that is not finite", "[ops][threads]", Backends) {
  constexpr double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {1.0, infinity, -infinity, nan})
    for (const int row : {0, 2})
      check_op<TestType>([=](auto& o) { return sample::first_non_finite(o, 20, row, 13, value); });
}

TEMPLATE_LIST_TEST_CASE("squares of tensors", "[ops][threads]", Backends) {
  const auto table = sample::table_of({{60, 50, Role::linear}, {1, 7, Role::bias}, {9, 1, Role::embedding}});
  check_op<TestType>(all_rows().front(), [&](auto& o) { return sample::tensor_squares(o, table); });
}

TEMPLATE_LIST_TEST_CASE("elementwise updates", "[ops][threads]", Backends) {
  for (const bool nesterov : {false, true}) {
    check_flat<TestType>([=](auto& o, int size) { return sample::sgd(o, size, false, 0, nesterov); });
    for (const double factor : {0.0, 0.9})
      check_flat<TestType>([=](auto& o, int size) { return sample::sgd(o, size, true, factor, nesterov); });
  }
  for (const bool decoupled : {false, true})
    check_flat<TestType>([=](auto& o, int size) { return sample::adam(o, size, decoupled); });
  check_flat<TestType>([](auto& o, int size) { return sample::lion(o, size); });
}

TEMPLATE_LIST_TEST_CASE("adafactor", "[ops][threads]", Backends) {
  // Some that all lanes share, some that are dealt to them; rows of one that are and are not vectors.
  const auto large = sample::table_of({{60, 50, Role::linear}, {1, 3000, Role::bias}});
  const auto mixed = sample::table_of({{40, 30, Role::linear},
                                       {1, 7, Role::bias},
                                       {1, 20, Role::linear},
                                       {9, 1, Role::embedding},
                                       {1, 20, Role::norm_gain},
                                       {3, 5, Role::query}});
  for (const auto& table : {large, mixed})
    for (const int step : {1, 100})
      check_op<TestType>(all_rows().front(), [&](auto& o) { return sample::adafactor(o, table, step); });
}

}  // namespace update_test
