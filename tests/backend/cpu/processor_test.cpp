// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/processor.hpp>
#include <string>
#include <string_view>

namespace processor_test {

using namespace fathom;
using cpu::InstructionSets;

constexpr int known = int(std::size(cpu::instruction_set_names)) - 1;

constexpr InstructionSets sets(std::string_view name) {
  for (int i = 0; i < known; ++i)
    if (cpu::instruction_set_names[i] == name) return InstructionSets{1} << i;
  return 0;
}

static_assert(known < 64);

TEST_CASE("this program runs on this processor", "[processor]") {
  CHECK((cpu::compiled_for & ~cpu::processor_has()) == 0);
  CHECK(std::string(cpu::ProcessorComplaint(cpu::compiled_for, cpu::processor_has()).line).empty());
}

TEST_CASE("what is missing is named in one line", "[processor]") {
  CHECK(cpu::ProcessorComplaint(0, 0).line[0] == '\0');
  if (known == 0) return;  // not an x86
#if defined(__AVX2__) && defined(__FMA__)
  CHECK((cpu::compiled_for & sets("avx2")) != 0);
  CHECK((cpu::compiled_for & sets("fma")) != 0);
#else
  CHECK((cpu::compiled_for & sets("avx2")) == 0);
#endif
  const InstructionSets haswell = sets("avx") | sets("avx2") | sets("fma");
  REQUIRE(std::popcount(haswell) == 3);
  CHECK(cpu::ProcessorComplaint(haswell, haswell | sets("avx512f")).line[0] == '\0');
  CHECK(std::string(cpu::ProcessorComplaint(haswell, sets("avx")).line) ==
        "fathom: this program was compiled for a processor with avx2 fma, which this one has not; compile it here with "
        "-march=native, or without -march for every processor");
  const std::string all = cpu::ProcessorComplaint(~InstructionSets{0}, 0).line;
  CHECK(all.ends_with("for every processor"));  // it fits
  for (int i = 0; i < known; ++i) CHECK(all.find(cpu::instruction_set_names[i]) != std::string::npos);
}

}  // namespace processor_test
