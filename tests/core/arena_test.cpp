// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <fathom/core/arena.hpp>

#include "support/temporary_directory.hpp"

namespace arena_test {

using namespace fathom;
using Catch::Matchers::ContainsSubstring;

static_assert(align_up(0) == 0 && align_up(1) == 64 && align_up(64) == 64 && align_up(65) == 128);
static_assert(align_up(5, 4) == 8 && align_up(8, 4) == 8);
static_assert(3_KiB == 3072 && 2_MiB == 2'097'152 && 5_GiB == 5'368'709'120);

// Without a block it counts, at compile time, and past any capacity.
static_assert([] {
  Arena arena;
  const bool null = arena.take<float>(17) == nullptr && arena.rows<double, 3>(5).data == nullptr;
  return null && arena.rows<double, 3>(5).count == 5 && arena.used() == 128 + 128 + 128;
}());
static_assert([] {
  Arena arena(nullptr, 64);
  arena.take<std::byte>(1'000'000'000'000);
  return arena.peak() == align_up(1'000'000'000'000);
}());

// What is given back can be taken again; the peak remembers the most that was out at once.
static_assert([] {
  Arena arena;
  arena.take<float>(16);
  const std::int64_t mark = arena.used();
  arena.take<float>(32);
  arena.release(mark);
  arena.take<float>(1);
  return mark == 64 && arena.used() == 128 && arena.peak() == 192;
}());

struct Block {
  alignas(alignment) std::array<std::byte, 448> bytes{};
};

TEST_CASE("pieces of a block start on cache lines, in order, none over another", "[core]") {
  Block block;
  Arena arena(block.bytes.data(), std::int64_t(block.bytes.size()));
  char* const one = arena.take<char>(1);
  double* const nine = arena.take<double>(9);
  float* const none = arena.take<float>(0);
  const Rows<std::int32_t, 5> rows = arena.rows<std::int32_t, 5>(7);
  const auto place = [&](const void* piece) { return static_cast<const std::byte*>(piece) - block.bytes.data(); };
  CHECK(place(one) == 0);
  CHECK(place(nine) == 64);
  CHECK(place(none) == 192);
  CHECK(place(rows.data) == 192);  // nothing takes no room
  CHECK(rows.count == 7);
  CHECK(arena.used() == 192 + 192);
  CHECK(arena.peak() == arena.used());

  *one = 1;
  std::fill_n(nine, 9, 2.5);
  std::fill_n(rows.data, 7 * 5, 3);
  CHECK(*one == 1);
  CHECK(std::all_of(nine, nine + 9, [](double value) { return value == 2.5; }));
}

TEST_CASE("a block of the size that was counted is large enough, a smaller one tells both sizes", "[core]") {
  const auto lay_out = [](Arena arena) {
    arena.take<float>(17);
    const std::int64_t mark = arena.used();
    arena.take<double>(20);
    arena.release(mark);
    arena.take<char>(65);
    return arena.peak();
  };
  Block block;
  const std::int64_t needed = lay_out(Arena());
  CHECK(needed == 128 + 192);
  CHECK(lay_out(Arena(block.bytes.data(), needed)) == needed);
  CHECK_THAT(fathom_test::message_of<Error>([&] { lay_out(Arena(block.bytes.data(), needed - 1)); }),
             ContainsSubstring("320 bytes are needed") && ContainsSubstring("319 were planned"));
}

TEST_CASE("what is given back is handed out again", "[core]") {
  Block block;
  Arena arena(block.bytes.data(), 192);
  arena.take<float>(16);
  const std::int64_t mark = arena.used();
  float* const first = arena.take<float>(32);
  arena.release(mark);
  CHECK(arena.used() == 64);
  CHECK(arena.take<float>(16) == first);
  CHECK(arena.peak() == 192);
  CHECK_THROWS_AS(arena.take<float>(17), Error);
}

}  // namespace arena_test
