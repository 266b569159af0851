// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>

/// A region of two lanes and an op in it, both of the library.
int main() {
  using namespace fathom;
  float values[] = {1, 2, 3};
  double squares = 0;
  Context<Cpu<>> context({.threads = 2});
  context.run(Packing{}, Pass{},
              [&](auto& worker) { worker(op::SumOfSquares<Single>{.x = {values, 3}, .result = &squares}); });
  std::printf("%g\n", squares);
  return squares == 14 ? 0 : 1;
}
