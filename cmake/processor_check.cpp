// SPDX-License-Identifier: Apache-2.0
// Compiled for every processor, so that it can say what the rest of the program needs. See fathomProcessorCheck.cmake.
#include <cstdio>
#include <cstdlib>
#include <fathom/backend/cpu/processor.hpp>

extern "C" const fathom::cpu::InstructionSets fathom_program_needs;

namespace {

// Before the constructors of global variables, which may use vector instructions: 101 is the first that programs may
// have.
[[gnu::constructor(101)]] void check_processor() {
  const fathom::cpu::ProcessorComplaint complaint(fathom_program_needs, fathom::cpu::processor_has());
  if (complaint.line[0] == '\0') return;
  std::fputs(complaint.line, stderr);
  std::fputs("\n", stderr);
  std::_Exit(EXIT_FAILURE);
}

}  // namespace
