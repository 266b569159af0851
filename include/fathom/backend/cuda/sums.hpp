// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/cuda/launch.hpp>
#include <fathom/core/config.hpp>

/// The second half of sums over rows: those of parts of the rows become one, which is added to a gradient.
namespace fathom::inline FATHOM_ABI::cuda {

/// results[c] += Σ of partial[part][c], part after part, of several sums at a time. No two add to the same results.
struct AddColumns {
  static constexpr const char* name = "add columns";
  static constexpr int warps = 8, threads = warps * warp_size, most = 32;
  struct Shared {
    float part[warps][warp_size];
  };
  struct Sum {
    const float* partial;
    float* results;
    int parts, columns, first_block;
  };
  Sum sums[most];
  int count;

  template <class Thread>
  constexpr void operator()(Thread& thread) const {
    int of = 0;
    while (of + 1 < count && sums[of + 1].first_block <= thread.block()) ++of;
    const auto& [partial, results, parts, columns, first_block] = sums[of];
    const int column = (thread.block() - first_block) * warp_size + thread.lane();
    float sum = 0;
    if (column < columns)
      for (int part = thread.warp(); part < parts; part += warps)
        sum += thread.load(partial + std::int64_t(part) * columns + column);
    auto& shared = thread.shared().part;
    shared[thread.warp()][thread.lane()] = sum;
    thread.barrier();
    if (thread.warp() != 0 || column >= columns) return;
    sum = 0;
    for (int w = 0; w < warps; ++w) sum += shared[w][thread.lane()];
    thread.store(results + column, thread.load(results + column) + sum);
  }
};

/// Sums that wait: those of all ops of a frame take one launch.
class WaitingSums {
 public:
  /// results[c] += Σ of partial[part][c], before `run` returns or earlier; `partial` must last until then.
  void add(CUstream_st* stream, const float* partial, int parts, int columns, float* results) {
    if (waiting_.count == AddColumns::most) run(stream);
    waiting_.sums[waiting_.count++] = {partial, results, parts, columns, blocks_};
    blocks_ += (columns + warp_size - 1) / warp_size;
  }
  void run(CUstream_st* stream) {
    if (waiting_.count > 0) launch(stream, blocks_, waiting_);
    waiting_.count = blocks_ = 0;
  }

 private:
  AddColumns waiting_{};
  int blocks_ = 0;
};

}  // namespace fathom::inline FATHOM_ABI::cuda
