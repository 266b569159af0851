// SPDX-License-Identifier: Apache-2.0
// What tests ask of a real GPU beside the backend.
#include <cstddef>

namespace fathom_test {

/// A device chooses its order itself.
void choose_machine(std::size_t) {}

}  // namespace fathom_test
