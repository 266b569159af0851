// SPDX-License-Identifier: Apache-2.0
#include <type_traits>

#include "layers/policy_stacks.hpp"

namespace policy_stacks_test {

/// Stacks without cross-attention under every policy: alone in their model, with attention to both sides or to earlier
/// rows, and before a decoder. Decoders that read them: policy_decoders_test.cpp.
using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of an encoder under each policy agree with differences", "[layers]", PolicyCases) {
  require_gradients_of_stack<EncoderOnlyStack<TestType, width>>({.lengths = {3, 1}});
  if constexpr (!std::is_same_v<typename TestType::InEncoder, typename TestType::InStack>)
    require_gradients_of_stack<EncoderStack<TestType, width>>({.lengths = {3, 1}});
}

TEMPLATE_LIST_TEST_CASE("gradients of a decoder that is alone agree with differences under each policy", "[layers]",
                        PolicyCases) {
  require_gradients_of_stack<DecoderOnlyStack<TestType, width>>({.lengths = {3, 1}});
}

}  // namespace policy_stacks_test
