// SPDX-License-Identifier: Apache-2.0
#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>

int main() {
  const fathom::Context<fathom::Cpu<>> context({.threads = 1}), another({.threads = 1});
  return context.lanes() - another.lanes();
}
