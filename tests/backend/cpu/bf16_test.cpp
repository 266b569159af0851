// SPDX-License-Identifier: Apache-2.0
#include "fathom/backend/cpu/bf16.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace bf16_test {

namespace cpu = fathom::cpu;
using fathom::Bf16;

TEST_CASE("registers round and widen as Bf16 does, bit for bit", "[bf16]") {
  constexpr std::uint32_t lows[] = {0,      1,      2,      0x7ffe, 0x7fff, 0x8000, 0x8001, 0x8002,
                                    0xfffe, 0xffff, 0x1234, 0x5555, 0x8765, 0x4000, 0xc000, 3};
  constexpr std::size_t width = cpu::simd_width<float>;
  int wrong = 0;
  for (std::uint32_t high = 0; high < 0x10000; ++high) {
    float floats[16], widened[16];
    Bf16 rounded[16];
    for (int i = 0; i < 16; ++i) floats[i] = std::bit_cast<float>(high << 16 | lows[i]);
    for (std::size_t i = 0; i < 16; i += width) {
      cpu::store(rounded + i, cpu::load(floats + i));
      cpu::store(widened + i, cpu::load(rounded + i));
    }
    for (int i = 0; i < 16; ++i) {
      const Bf16 expected{floats[i]};
      if (rounded[i].bits != expected.bits) ++wrong;
      if (std::bit_cast<std::uint32_t>(widened[i]) != std::bit_cast<std::uint32_t>(float(expected))) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("parts of registers touch no bf16 number beyond them", "[bf16]") {
  constexpr std::size_t width = cpu::simd_width<float>;
  for (std::size_t n = 0; n < width; ++n) {
    Bf16 numbers[width];
    for (std::size_t i = 0; i < width; ++i) numbers[i] = Bf16(float(i) + 1);
    const auto v = cpu::load_first(numbers, n);
    cpu::store_first(numbers, v + 100.0f, n);
    for (std::size_t i = 0; i < width; ++i) {
      CHECK(v[i] == (i < n ? float(i) + 1 : 0));
      CHECK(float(numbers[i]) == float(i) + 1 + (i < n ? 100 : 0));
    }
  }
}

TEMPLATE_TEST_CASE("parts of registers are read and written at the edge of a page", "[bf16]", Bf16, float, double) {
  const std::size_t page = std::size_t(sysconf(_SC_PAGESIZE));
  constexpr std::size_t width = cpu::simd_width<cpu::Computed<TestType>>;
  void* const memory = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto* const end = reinterpret_cast<TestType*>(static_cast<std::byte*>(memory) + page);
  REQUIRE(mprotect(end, page, PROT_NONE) == 0);
  for (std::size_t n = 0; n <= width; ++n) {
    TestType* const numbers = end - n;
    std::fill(numbers, end, TestType(2.0f));
    cpu::store_first(numbers, cpu::load_first(numbers, n) + 1, n);
    CHECK(std::count(numbers, end, TestType(3.0f)) == std::ptrdiff_t(n));
  }
  munmap(memory, 2 * page);
}

}  // namespace bf16_test
