// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cpu/config.hpp>

/// Which instructions a program may contain, and which the processor has.
///
/// Nothing here calls a function or uses a class of the standard library: its inline functions may be linked in a copy
/// that was compiled for another processor, and this runs where that one's instructions are in doubt.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

/// Bit i stands for line i of the list below.
using InstructionSets = std::uint64_t;

/// X(macro, name): what compilers for x86 put into code that does not ask for it, the macro by which they say that they
/// do, and the name that they, and the messages, know it by.
#if defined(__x86_64__) || defined(__i386__)
// clang-format off
#define FATHOM_INSTRUCTION_SETS(X)                                                                                   \
  X(__SSE3__, "sse3")             X(__SSSE3__, "ssse3")           X(__SSE4_1__, "sse4.1")                            \
  X(__SSE4_2__, "sse4.2")         X(__SSE4A__, "sse4a")           X(__POPCNT__, "popcnt")                            \
  X(__LZCNT__, "lzcnt")           X(__MOVBE__, "movbe")           X(__BMI__, "bmi")                                  \
  X(__BMI2__, "bmi2")             X(__TBM__, "tbm")               X(__XOP__, "xop")                                  \
  X(__FMA4__, "fma4")             X(__GFNI__, "gfni")             X(__F16C__, "f16c")                                \
  X(__AVX__, "avx")               X(__AVX2__, "avx2")             X(__FMA__, "fma")                                  \
  X(__AVXVNNI__, "avxvnni")       X(__AVX512F__, "avx512f")       X(__AVX512CD__, "avx512cd")                        \
  X(__AVX512DQ__, "avx512dq")     X(__AVX512BW__, "avx512bw")     X(__AVX512VL__, "avx512vl")                        \
  X(__AVX512IFMA__, "avx512ifma") X(__AVX512VBMI__, "avx512vbmi") X(__AVX512VBMI2__, "avx512vbmi2")                  \
  X(__AVX512VNNI__, "avx512vnni") X(__AVX512BF16__, "avx512bf16") X(__AVX512FP16__, "avx512fp16")                    \
  X(__AVX512BITALG__, "avx512bitalg")                             X(__AVX512VPOPCNTDQ__, "avx512vpopcntdq")
// clang-format on
#else
#define FATHOM_INSTRUCTION_SETS(X)
#endif

/// Ends with a null pointer.
inline constexpr const char* instruction_set_names[] = {
#define FATHOM_NAME(macro, name) name,
    FATHOM_INSTRUCTION_SETS(FATHOM_NAME)
#undef FATHOM_NAME
        nullptr};

/// Those that this translation unit is compiled for. A constant of each translation unit, not one of the program.
constexpr InstructionSets compiled_for = [] {
  [[maybe_unused]] InstructionSets bit = 1;
  InstructionSets sets = 0;
// A macro that is defined is spelled as its value, 1.
#define FATHOM_SPELLED(value) #value
#define FATHOM_ADD(macro, name)                     \
  if (FATHOM_SPELLED(macro)[0] == '1') sets |= bit; \
  bit <<= 1;
  FATHOM_INSTRUCTION_SETS(FATHOM_ADD)
#undef FATHOM_ADD
#undef FATHOM_SPELLED
  return sets;
}();

/// Those that this processor has and its operating system lets programs use. May be called before main.
inline InstructionSets processor_has() {
  [[maybe_unused]] InstructionSets bit = 1;
  InstructionSets sets = 0;
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
#endif
#define FATHOM_ADD(macro, name)                  \
  if (__builtin_cpu_supports(name)) sets |= bit; \
  bit <<= 1;
  FATHOM_INSTRUCTION_SETS(FATHOM_ADD)
#undef FATHOM_ADD
  return sets;
}

/// The line for a program that needs what the processor does not have; empty when nothing is missing.
struct ProcessorComplaint {
  char line[512] = {};

  constexpr ProcessorComplaint(InstructionSets needed, InstructionSets present) {
    const InstructionSets missing = needed & ~present;
    if (missing == 0) return;
    append("fathom: this program was compiled for a processor with");
    for (int i = 0; instruction_set_names[i] != nullptr; ++i) {
      if ((missing >> i & 1) == 0) continue;
      append(" ");
      append(instruction_set_names[i]);
    }
    append(
        ", which this one has not; "
        "compile it here with -march=native, or without -march for every processor");
  }

 private:
  constexpr void append(const char* text) {
    while (*text != '\0' && size_ + 1 < int(sizeof(line))) line[size_++] = *text++;
  }
  int size_ = 0;
};

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
