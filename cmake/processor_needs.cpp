// SPDX-License-Identifier: Apache-2.0
// Compiled as the program is; holds a constant and no code. See fathomProcessorCheck.cmake.
#include <fathom/backend/cpu/processor.hpp>

extern "C" {
extern constinit const fathom::cpu::InstructionSets fathom_program_needs = fathom::cpu::compiled_for;
}
