// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fathom/core/arithmetic.hpp>

int main() {
  try {
    fathom::check_arithmetic();
  } catch (const fathom::Error& error) {
    std::puts(error.what());
    return 1;
  }
}
