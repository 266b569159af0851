// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdio>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/processor.hpp>
#include <initializer_list>
#include <string>
#include <string_view>

namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

namespace detail {

constexpr InstructionSets sets_of(std::initializer_list<std::string_view> names) {
  InstructionSets sets = 0;
  for (int i = 0; instruction_set_names[i] != nullptr; ++i)
    for (const std::string_view name : names)
      if (name == instruction_set_names[i]) sets |= InstructionSets{1} << i;
  return sets;
}

}  // namespace detail

/// The line about a program that is slower than it need be on this processor, empty where it is not: it was compiled
/// without optimization, or for narrower vectors than the processor has (core/config.hpp has the three widths).
inline std::string slow_build(bool optimized, InstructionSets compiled, InstructionSets present) {
  constexpr InstructionSets avx2 = detail::sets_of({"avx2", "fma"});
  constexpr InstructionSets avx512 = detail::sets_of({"avx512f", "avx512dq", "avx512bw", "avx512vl"});
  const auto unused = [&](InstructionSets sets) { return (present & sets) == sets && (compiled & sets) != sets; };
  const char* const what = !optimized       ? "without optimization"
                           : unused(avx2)   ? "without AVX2, which this processor has,"
                           : unused(avx512) ? "without AVX-512, which this processor has,"
                                            : nullptr;
  if (what == nullptr) return {};
  return std::string("fathom: this program was compiled ") + what +
         " and is slow; compile it with -O3 -march=native (-DFATHOM_QUIET hides this line)";
}

/// Whether the program defines FATHOM_QUIET, in one of its files at least. Each such file says so as the program starts.
inline constinit std::atomic<bool> quiet = false;
#if defined(FATHOM_QUIET)
namespace {
[[maybe_unused]] const bool quiet_here = quiet = true;
}
#endif

/// Writes that line to stderr, once in a process, unless the program is quiet.
inline void remark_on_slow_build(bool optimized, InstructionSets compiled) {
  static std::atomic_flag said;
  if (quiet || said.test_and_set()) return;
  const std::string line = slow_build(optimized, compiled, processor_has());
  if (!line.empty()) std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
