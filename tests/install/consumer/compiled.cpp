// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>

/// A region of two lanes and an op in it, both of the library.
int main() {
  using namespace fathom;
  float values[] = {2, 4, 6}, average[] = {0, 0, 0};
  Context<Cpu<>> context({.threads = 2});
  context.run(Packing{}, Pass{}, [&](auto& worker) {
    worker(op::Average<Single>{.x = {values, 3}, .average = {average, 3}, .decay = 0.5});
  });
  std::printf("%g %g %g\n", double(average[0]), double(average[1]), double(average[2]));
  return average[2] == 3 ? 0 : 1;
}
