// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

namespace embedding_test {

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("embedding, forward and backward", "[ops][threads]", Backends) {
  constexpr int width = 36, vocabulary = 11;
  using sample::Positions;
  for (const auto positions : {Positions::none, Positions::learned, Positions::neighbours, Positions::halves}) {
    check_op<TestType>([=](auto& o) { return sample::embedding(o, width, vocabulary, positions); }, {.dropout = true});
    for (const bool table : {false, true})
      check_op<TestType>([=](auto& o) { return sample::embedding_backward(o, width, vocabulary, positions, table); },
                         {.dropout = true});
  }
}

}  // namespace embedding_test
