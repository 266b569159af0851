// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/backend.hpp>
#include <fathom/backend/backends.hpp>
#include <fathom/backend/cpu/matmul.hpp>
#include <fathom/backend/cpu/ops/attention.hpp>
#include <fathom/backend/cpu/ops/linear.hpp>
#include <fathom/backend/cpu/ops/loss.hpp>
#include <fathom/backend/cpu/ops/rows.hpp>
#include <fathom/backend/cpu/ops/streams.hpp>
#include <fathom/backend/cpu/slow_build.hpp>
#include <fathom/backend/cpu/team.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// The CPU with all cores that the process may use. Threads deal the sequences of a batch among themselves and run the
/// layers' code side by side; weight gradients are put off until a frame closes and then cut by output rows. Results
/// are bit-equal for any number of threads, because every product's elements, every shard and every sum's order are
/// fixed by the batch alone.
template <class P, class MatmulEngine>
struct Cpu : cpu::LinearOps<P, MatmulEngine>,
             cpu::AttentionOps<P, MatmulEngine>,
             cpu::RowOps<P, MatmulEngine>,
             cpu::StreamOps<P, MatmulEngine>,
             cpu::UpdateOps<P, MatmulEngine>,
             cpu::LossOps<P, MatmulEngine> {
  using Precision = P;
  using Matmul = MatmulEngine;
  using Lane = cpu::Lane<cpu::Deferred<P, Matmul>>;

  struct Options {
    int threads = 0;  ///< 0: as many as the process may run at the same time, of those that the system gives
  };

  /// The threads and the memory that ops need while they run.
  class Machine {
   public:
    explicit Machine(const Options& options) : team_(options.threads) {
      for (int number = 0; number < team_.size(); ++number) lanes_.emplace_back(number);
      cpu::remark_on_slow_build();
    }

    int lanes() const { return team_.size(); }
    std::int64_t allocated_bytes() const { return scratch_.size(); }

    void reserve(std::int64_t scratch) {
      if (scratch > scratch_each_) {
        scratch_each_ = align_up(scratch);
        scratch_ = Buffer<std::byte>(scratch_each_ * lanes());
      }
    }

    template <class F>
    void run(F&& f) {
      team_.run([&](int number) {
        Lane& lane = lanes_[number];
        lane.attach({&team_, scratch_.data() + number * scratch_each_, scratch_each_});
        f(lane);
      });
    }

   private:
    cpu::Team team_;
    std::vector<Lane> lanes_;
    Buffer<std::byte> scratch_;
    std::int64_t scratch_each_ = 0;
  };

  using cpu::LinearOps<P, Matmul>::run;
  using cpu::AttentionOps<P, Matmul>::run;
  using cpu::RowOps<P, Matmul>::run;
  using cpu::StreamOps<P, Matmul>::run;
  using cpu::UpdateOps<P, Matmul>::run;
  using cpu::LossOps<P, Matmul>::run;
  using cpu::LinearOps<P, Matmul>::scratch_bytes;
  using cpu::AttentionOps<P, Matmul>::scratch_bytes;
  using cpu::LossOps<P, Matmul>::scratch_bytes;
  using cpu::UpdateOps<P, Matmul>::shared_bytes;
  using cpu::LossOps<P, Matmul>::shared_bytes;
  using cpu::RowOps<P, Matmul>::held_bytes;
  using cpu::StreamOps<P, Matmul>::held_bytes;
};

static_assert(Backend<Cpu<>> && Backend<Cpu<Double>>);

}  // namespace fathom::inline FATHOM_ABI
