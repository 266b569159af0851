// SPDX-License-Identifier: Apache-2.0
// Compiled for processors that multiply bf16 numbers, in tiles or in pairs, and need not be there to run it.
#include <fathom/backend/cpu/matmul/bf16_matmul.hpp>

using fathom::Bf16;
namespace cpu = fathom::cpu;

void products(cpu::MatmulSize size, const Bf16* x, const Bf16* w, float* sums, Bf16* y, float* scratch) {
  cpu::Bf16Matmul::forward(size, {x, size.k}, {w, size.k}, x, {{sums, size.n}, {y, size.n}}, scratch);
  cpu::Bf16Matmul::input_gradient(size, {x, size.n}, {w, size.k}, {sums, size.k}, 2, {{sums, size.k}, {}}, scratch);
  cpu::Bf16Matmul::weight_gradient(size, {x, size.n}, {w, size.k}, {sums, size.k}, sums, scratch);
  cpu::Bf16Matmul::forward_few_rows(size, {x, size.k}, {w, size.k}, x, {y, size.n});
}
