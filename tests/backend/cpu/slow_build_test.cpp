// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/backend/cpu/slow_build.hpp>

namespace slow_build_test {

using namespace fathom;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("a program that is slower than it need be on this processor says why", "[cpu]") {
  const auto avx2 = cpu::detail::sets_of({"avx", "avx2", "fma"});
  const auto avx512 = avx2 | cpu::detail::sets_of({"avx512f", "avx512dq", "avx512bw", "avx512vl"});
  if (avx2 == 0) SKIP("another processor than x86");
  CHECK_THAT(cpu::slow_build(false, avx2, avx2), ContainsSubstring("compiled without optimization and is slow"));
  CHECK_THAT(cpu::slow_build(true, 0, avx2), ContainsSubstring("without AVX2, which this processor has,"));
  CHECK_THAT(cpu::slow_build(true, 0, avx512), ContainsSubstring("without AVX2"));
  CHECK_THAT(cpu::slow_build(true, avx2, avx512), ContainsSubstring("without AVX-512"));
  CHECK(cpu::slow_build(true, avx512, avx512).empty());
  CHECK(cpu::slow_build(true, avx2, avx2).empty());
  CHECK(cpu::slow_build(true, 0, 0).empty());
  CHECK(cpu::slow_build(true, 0, cpu::detail::sets_of({"avx", "avx2"})).empty());  // no fma: no kernel for it
  CHECK(cpu::slow_build(true, avx2, avx512 & ~cpu::detail::sets_of({"avx512vl"})).empty());
}

}  // namespace slow_build_test
