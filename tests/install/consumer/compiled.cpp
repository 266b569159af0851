// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>

/// A region of two lanes and an op in it, both of the library.
int main() {
  using namespace fathom;
  float values[] = {1, 2, 3};
  Context<Cpu<>> context({.threads = 2});
  context.run(Packing{}, Pass{}, [&](auto& worker) { worker(op::Scale<Single>{.x = {values, 3}, .factor = 2}); });
  std::printf("%g %g %g\n", double(values[0]), double(values[1]), double(values[2]));
  return values[2] == 6 ? 0 : 1;
}
