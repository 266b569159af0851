// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <fathom/core/memory.hpp>

#include "support/temporary_directory.hpp"

namespace {
using namespace fathom;
using Catch::Matchers::ContainsSubstring;

static_assert(align_up(0) == 0 && align_up(1) == 64 && align_up(64) == 64 && align_up(65) == 128);
static_assert(align_up(5, 4) == 8 && align_up(8, 4) == 8);
static_assert(3_KiB == 3072 && 2_MiB == 2'097'152 && 5_GiB == 5'368'709'120);

// Without a block it counts, at compile time, and past any capacity.
static_assert([] {
  Memory memory;
  const bool null = memory.take<float>(17) == nullptr && memory.rows<double, 3>(5).data == nullptr;
  return null && memory.rows<double, 3>(5).count == 5 && memory.used() == 128 + 128 + 128;
}());
static_assert([] {
  Memory memory(nullptr, 64);
  memory.take<std::byte>(1'000'000'000'000);
  return memory.peak() == align_up(1'000'000'000'000);
}());

// What is given back can be taken again; the peak remembers the most that was out at once.
static_assert([] {
  Memory memory;
  memory.take<float>(16);
  const std::int64_t mark = memory.used();
  memory.take<float>(32);
  memory.release(mark);
  memory.take<float>(1);
  return mark == 64 && memory.used() == 128 && memory.peak() == 192;
}());

struct Block {
  alignas(alignment) std::array<std::byte, 448> bytes{};
};

TEST_CASE("pieces of a block start on cache lines, in order, none over another", "[core]") {
  Block block;
  Memory memory(block.bytes.data(), std::int64_t(block.bytes.size()));
  char* const one = memory.take<char>(1);
  double* const nine = memory.take<double>(9);
  float* const none = memory.take<float>(0);
  const Rows<std::int32_t, 5> rows = memory.rows<std::int32_t, 5>(7);
  const auto place = [&](const void* piece) { return static_cast<const std::byte*>(piece) - block.bytes.data(); };
  CHECK(place(one) == 0);
  CHECK(place(nine) == 64);
  CHECK(place(none) == 192);
  CHECK(place(rows.data) == 192);  // nothing takes no room
  CHECK(rows.count == 7);
  CHECK(memory.used() == 192 + 192);
  CHECK(memory.peak() == memory.used());

  *one = 1;
  std::fill_n(nine, 9, 2.5);
  std::fill_n(rows.data, 7 * 5, 3);
  CHECK(*one == 1);
  CHECK(std::all_of(nine, nine + 9, [](double value) { return value == 2.5; }));
}

TEST_CASE("a block of the size that was counted is large enough, a smaller one tells both sizes", "[core]") {
  const auto lay_out = [](Memory memory) {
    memory.take<float>(17);
    const std::int64_t mark = memory.used();
    memory.take<double>(20);
    memory.release(mark);
    memory.take<char>(65);
    return memory.peak();
  };
  Block block;
  const std::int64_t needed = lay_out(Memory());
  CHECK(needed == 128 + 192);
  CHECK(lay_out(Memory(block.bytes.data(), needed)) == needed);
  CHECK_THAT(fathom_test::message_of<Error>([&] { lay_out(Memory(block.bytes.data(), needed - 1)); }),
             ContainsSubstring("320 bytes are needed") && ContainsSubstring("319 were planned"));
}

TEST_CASE("what is given back is handed out again", "[core]") {
  Block block;
  Memory memory(block.bytes.data(), 192);
  memory.take<float>(16);
  const std::int64_t mark = memory.used();
  float* const first = memory.take<float>(32);
  memory.release(mark);
  CHECK(memory.used() == 64);
  CHECK(memory.take<float>(16) == first);
  CHECK(memory.peak() == 192);
  CHECK_THROWS_AS(memory.take<float>(17), Error);
}

}  // namespace
