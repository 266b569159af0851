// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/buffer.hpp>
#include <type_traits>
#include <utility>

namespace buffer_test {

using namespace fathom;

// One owner: a buffer moves and is not copied.
static_assert(!std::is_copy_constructible_v<Buffer<float>> && !std::is_copy_assignable_v<Buffer<float>>);
static_assert(std::is_nothrow_move_constructible_v<Buffer<float>> && std::is_nothrow_move_assignable_v<Buffer<float>>);
static_assert(!std::is_convertible_v<std::int64_t, Buffer<float>>, "a number is no buffer");

// A const buffer is read only; only bytes are given out as memory.
template <class B>
concept HasMemory = requires(B& buffer) {
  arena_of(buffer);
};
static_assert(HasMemory<Buffer<std::byte>> && !HasMemory<Buffer<float>> && !HasMemory<const Buffer<std::byte>>);
static_assert(std::is_same_v<decltype(std::declval<const Buffer<float>&>().data()), const float*>);
static_assert(std::is_same_v<decltype(std::declval<const Buffer<float>&>().span()), std::span<const float>>);

std::uintptr_t address(const void* data) { return reinterpret_cast<std::uintptr_t>(data); }

TEST_CASE("a buffer starts aligned and zero, also where memory was used before", "[core]") {
  for (const std::int64_t count : {1, 15, 16, 17, 1000, 524'287, 524'289}) {
    INFO(count << " floats");
    for (int use = 0; use < 3; ++use) {
      Buffer<float> buffer(count);
      REQUIRE(buffer.size() == count);
      REQUIRE(std::int64_t(buffer.span().size()) == count);
      REQUIRE(buffer.span().data() == buffer.data());
      REQUIRE(address(buffer.data()) % alignment == 0);
      const auto bytes = std::as_bytes(buffer.span());
      REQUIRE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; }));
      std::memset(static_cast<void*>(buffer.data()), 0xff, bytes.size());  // for the next one
    }
  }
}

TEST_CASE("a large buffer starts on a huge page", "[core]") {
  const Buffer<double> first(1 + (4 << 20) / 8), second(1 + (4 << 20) / 8);
  CHECK(address(first.data()) % (2 << 20) == 0);
  CHECK(address(second.data()) % (2 << 20) == 0);
}

TEST_CASE("a buffer of nothing has no memory", "[core]") {
  const Buffer<float> none, zero(0);
  CHECK(none.data() == nullptr);
  CHECK(none.size() == 0);
  CHECK(zero.data() == nullptr);
  CHECK(zero.span().empty());
  Buffer<std::byte> empty;
  CHECK(arena_of(empty).take<float>(0) != nullptr);
  CHECK_THROWS_AS(arena_of(empty).take<float>(1), Error);
}

TEST_CASE("a buffer that moves keeps its elements where they are", "[core]") {
  Buffer<float> source(100);
  source.span()[99] = 7;
  const float* const data = source.data();
  Buffer<float> target = std::move(source);
  CHECK(target.data() == data);
  CHECK(target.size() == 100);
  CHECK(source.data() == nullptr);
  CHECK(source.size() == 0);

  Buffer<float> large((3 << 20) / 4);  // with an alignment of its own, which has to move along
  large.span()[0] = 8;
  large = std::move(target);
  CHECK(large.data() == data);
  CHECK(large.size() == 100);
  CHECK(large.span()[99] == 7);
}

TEST_CASE("a buffer of bytes is a block of memory of its size", "[core]") {
  Buffer<std::byte> buffer(192);
  Arena arena = arena_of(buffer);
  CHECK(static_cast<void*>(arena.take<double>(8)) == buffer.data());
  CHECK(static_cast<void*>(arena.take<float>(32)) == buffer.data() + 64);
  CHECK_THROWS_AS(arena.take<std::byte>(1), Error);
}

}  // namespace buffer_test
