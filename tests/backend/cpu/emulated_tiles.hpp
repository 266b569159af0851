// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <fathom/backend/cpu/matmul/tiles.hpp>

namespace fathom_test {

/// A matrix unit in software, for `TileKernel` on a machine without one: what the manual's pseudo-code of TDPBF16PS
/// does. A thread that did not configure it, or did not release it, fails its test.
template <bool Granted = true>
struct EmulatedTiles {
  static bool granted() { return Granted; }
  static void configure() {
    REQUIRE_FALSE(state().configured);
    state() = {.configured = true, .sums = {}};
  }
  static void release() {
    REQUIRE(state().configured);
    state().configured = false;
  }

  template <int Halves>
  static void zero() {
    each<Halves>([](float& sum, std::size_t, std::size_t) { sum = 0; });
  }
  template <int Halves>
  static void load(const float* from, std::size_t bytes) {
    each<Halves>([&](float& sum, std::size_t i, std::size_t j) { sum = row(from, i, bytes)[j]; });
  }
  template <int Halves>
  static void store(float* to, std::size_t bytes) {
    each<Halves>([&](float& sum, std::size_t i, std::size_t j) { row(to, i, bytes)[j] = sum; });
  }
  template <int Halves>
  static void step(const fathom::cpu::Bf16Pair* a, std::size_t bytes, const fathom::cpu::Bf16Pair* b) {
    each<Halves>([&](float& sum, std::size_t i, std::size_t j) {
      float even = 0, odd = 0;
      for (std::size_t p = 0; p < fathom::cpu::tile_side; ++p) {
        const auto& x = row(a, i, bytes)[p];
        const auto& y = b[p * columns + j];
        even = flushed(std::fma(flushed(float(x.first)), flushed(float(y.first)), even));
        odd = flushed(std::fma(flushed(float(x.second)), flushed(float(y.second)), odd));
      }
      sum = flushed(flushed(sum) + flushed(even + odd));
    });
  }

 private:
  static constexpr std::size_t columns = 2 * fathom::cpu::tile_side;
  struct State {
    bool configured = false;
    std::array<std::array<float, columns>, 2 * fathom::cpu::tile_side> sums;
  };
  static State& state() {
    thread_local State tiles{};
    return tiles;
  }

  static float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
  template <class T>
  static T* row(T* first, std::size_t i, std::size_t bytes) {
    return first + i * (bytes / sizeof(T));
  }
  template <int Halves>
  static void each(auto&& f) {
    REQUIRE(state().configured);
    for (std::size_t i = 0; i < Halves * fathom::cpu::tile_side; ++i)
      for (std::size_t j = 0; j < columns; ++j) f(state().sums[i][j], i, j);
  }
};

}  // namespace fathom_test
