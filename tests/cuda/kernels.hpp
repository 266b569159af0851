// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cuda/kernel.hpp>
#include <fathom/core/half.hpp>

/// Kernels of tests, which run on a device and on the emulated one. Some are wrong where they are told to be.
namespace fathom_test {
using namespace fathom;

/// y[block] = the sum of x[threads · block, …), in a tree.
struct BlockSum {
  static constexpr const char* name = "block_sum";
  static constexpr int threads = 128;
  struct Shared {
    float part[threads];
  };

  const float* x;
  float* y;
  bool barriers = true;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    auto& part = thread.shared().part;
    part[thread.index()] = thread.load(x + thread.block() * threads + thread.index());
    for (int half = threads / 2; half > 0; half /= 2) {
      if (barriers) thread.barrier();
      if (thread.index() < half) part[thread.index()] += part[thread.index() + half];
    }
    if (thread.index() == 0) thread.store(y + thread.block(), part[0]);
  }
};

/// y = xᵀ of a square matrix, a tile of 32 for each block.
struct Transpose {
  static constexpr const char* name = "transpose";
  static constexpr int tile = 32, threads = 256;
  struct Shared {
    float x[tile][tile + 1];
  };

  const float* x;
  float* y;
  int width;  ///< a multiple of `tile`
  bool barrier = true;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int tiles = width / tile, row = thread.block() / tiles * tile, column = thread.block() % tiles * tile;
    for (int i = thread.warp(); i < tile; i += threads / tile)
      thread.shared().x[i][thread.lane()] = thread.load(x + (row + i) * width + column + thread.lane());
    if (barrier) thread.barrier();
    for (int i = thread.warp(); i < tile; i += threads / tile)
      thread.store(y + (column + i) * width + row + thread.lane(), thread.shared().x[thread.lane()][i]);
  }
};

/// y[i] = the sum of the 32 elements of x from i / 32 · 32 on.
struct WarpSum {
  static constexpr const char* name = "warp_sum";
  static constexpr int threads = 64;
  struct Shared {};

  const float* x;
  float* y;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    const int at = thread.block() * threads + thread.index();
    float sum = thread.load(x + at);
    for (int mask = 16; mask > 0; mask /= 2) sum += thread.shuffle_xor(sum, mask);
    thread.store(y + at, sum);
  }
};

/// y[i] = x of the lane before, around the warp.
struct Rotate {
  static constexpr const char* name = "rotate";
  static constexpr int threads = 32;
  struct Shared {};

  const int* x;
  int* y;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    int value = thread.load(x + thread.index());
    for (int time = 0; time < 3; ++time) value = thread.shuffle(value, (thread.lane() + 31) % 32);
    thread.store(y + thread.index(), value);
  }
};

/// y += a b: 16×8 of floats, from 16×16 and 16×8, rows contiguous, by one warp.
struct MultiplyTile {
  static constexpr const char* name = "multiply_tile";
  static constexpr int threads = 32;
  struct Shared {};

  const Bf16 *a, *b;
  float* y;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    using Step = fathom::cuda::MatrixStep;
    Bf16 left[Step::a_elements], right[Step::b_elements];
    float sum[Step::c_elements] = {};
    const int lane = thread.lane();
    for (int i = 0; i < Step::a_elements; ++i)
      left[i] = thread.load(a + Step::a_row(lane, i) * Step::inner + Step::a_column(lane, i));
    for (int i = 0; i < Step::b_elements; ++i)
      right[i] = thread.load(b + Step::b_row(lane, i) * Step::columns + Step::b_column(lane, i));
    const auto place = [&](int i) { return Step::c_row(lane, i) * Step::columns + Step::c_column(lane, i); };
    for (int i = 0; i < Step::c_elements; ++i) sum[i] = thread.load(y + place(i));
    thread.multiply_add(sum, left, right);
    for (int i = 0; i < Step::c_elements; ++i) thread.store(y + place(i), sum[i]);
  }
};

/// y = a x + y, each element by itself.
struct Axpy {
  static constexpr const char* name = "axpy";
  static constexpr int threads = 64;

  float a;
  const float* x;
  float* y;
  int size;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    for (int i = thread.block() * threads + thread.index(); i < size; i += thread.blocks() * threads)
      thread.store(y + i, a * thread.load(x + i) + thread.load(y + i));
  }
};

}  // namespace fathom_test
