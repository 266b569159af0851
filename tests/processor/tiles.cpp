// SPDX-License-Identifier: Apache-2.0
// Compiled for a processor with a matrix unit, which is not there to run it.
#include <fathom/backend/cpu/matmul/bf16_matmul.hpp>

namespace cpu = fathom::cpu;

void forward(cpu::MatmulSize size, const fathom::Bf16* x, const fathom::Bf16* w, float* y, float* scratch) {
  cpu::Bf16Matmul::forward(size, {x, size.k}, {w, size.k}, nullptr, {{y, size.n}, {}}, scratch);
}
