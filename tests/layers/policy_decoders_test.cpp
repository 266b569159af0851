// SPDX-License-Identifier: Apache-2.0
#include "layers/policy_stacks.hpp"
#include "support/near.hpp"

namespace policy_decoders_test {

/// Decoders that read an encoder's output under every policy: what each of them owes.
using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of a decoder under each policy agree with differences", "[layers]", PolicyCases) {
  require_gradients_of_stack<DecoderStack<TestType, width>>(
      {.lengths = {3, 1}, .memory_lengths = {2, 3}, .memory_width = width});
}

template <class Stack>
testing::LayerRun<Stack> trained() {
  testing::LayerRun<Stack> run({.lengths = {3, 1}, .memory_lengths = {2, 3}, .memory_width = width});
  run.pass = {Key{1}, {0.1, 0.25, 0.4, 0.3}};
  run.randomize(1);
  run.poison();
  run.forward();
  run.poison_workspace();
  run.backward();
  return run;
}

TEMPLATE_LIST_TEST_CASE("under each policy, what is recomputed gives the same bits as what is stored", "[layers]",
                        PolicyCases) {
  const auto stored = trained<DecoderStack<TestType, width>>();
  const auto recomputed = trained<DecoderStack<TestType, width, width, Recompute<2>>>();
  REQUIRE(equal_bits(recomputed.y, stored.y));
  REQUIRE(equal_bits(recomputed.dx, stored.dx));
  REQUIRE(equal_bits(recomputed.gradients, stored.gradients));
}

}  // namespace policy_decoders_test
