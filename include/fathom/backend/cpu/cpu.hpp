// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/backend.hpp>
#include <fathom/backend/backends.hpp>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/matmul.hpp>
#include <fathom/backend/cpu/ops/activation.hpp>
#include <fathom/backend/cpu/ops/attention.hpp>
#include <fathom/backend/cpu/ops/embedding.hpp>
#include <fathom/backend/cpu/ops/linear.hpp>
#include <fathom/backend/cpu/ops/loss.hpp>
#include <fathom/backend/cpu/ops/norm.hpp>
#include <fathom/backend/cpu/ops/residual.hpp>
#include <fathom/backend/cpu/ops/update.hpp>
#include <fathom/backend/cpu/slow_build.hpp>
#include <fathom/backend/cpu/team.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/indexed.hpp>
#include <type_traits>
#include <vector>

namespace fathom::inline FATHOM_ABI {
namespace cpu::inline FATHOM_CPU_ABI {

/// Every op, for one lane's share of it.
template <class P, class Matmul>
struct Ops : NeedsNoMemory,
             ActivationOps<P, Matmul>,
             AttentionOps<P, Matmul>,
             EmbeddingOps<P, Matmul>,
             LinearOps<P, Matmul>,
             LossOps<P, Matmul>,
             NormOps<P, Matmul>,
             ResidualOps<P, Matmul>,
             UpdateOps<P, Matmul> {
  using Lane = cpu::Lane<Deferred<P, Matmul>>;

  using ActivationOps<P, Matmul>::run;
  using AttentionOps<P, Matmul>::run;
  using EmbeddingOps<P, Matmul>::run;
  using LinearOps<P, Matmul>::run;
  using LossOps<P, Matmul>::run;
  using NormOps<P, Matmul>::run;
  using ResidualOps<P, Matmul>::run;
  using UpdateOps<P, Matmul>::run;
  using NeedsNoMemory::scratch_bytes;
  using AttentionOps<P, Matmul>::scratch_bytes;
  using LinearOps<P, Matmul>::scratch_bytes;
  using EmbeddingOps<P, Matmul>::scratch_bytes;
  using LossOps<P, Matmul>::scratch_bytes;
  using NeedsNoMemory::shared_bytes;
  using LossOps<P, Matmul>::shared_bytes;
  using UpdateOps<P, Matmul>::shared_bytes;
  using NeedsNoMemory::held_bytes;
  using AttentionOps<P, Matmul>::held_bytes;
  using NormOps<P, Matmul>::held_bytes;
  using ResidualOps<P, Matmul>::held_bytes;
};

/// The CPU with all cores that the process may use. Threads deal the sequences of a batch among themselves and run the
/// layers' code side by side; weight gradients are put off until a frame closes and then cut by output rows. Results
/// are bit-equal for any number of threads, because every product's elements, every shard and every sum's order are
/// fixed by the batch alone.
///
/// What is defined outside of the class is what `fathom::compiled` holds for Single, Double and Mixed: compilers
/// instantiate what stands in a class wherever it is used, whatever is declared `extern template`.
template <class P, class MatmulEngine>
struct Cpu : private Ops<P, MatmulEngine> {
  static_assert(std::is_same_v<P, Single> || std::is_same_v<P, Double> || std::is_same_v<P, Mixed>,
                "fathom: Cpu computes in Single, Double and Mixed; other bundles of types run on Ref");
  using Precision = P;
  using Matmul = MatmulEngine;
  using Lane = cpu::Lane<Deferred<P, Matmul>>;
  template <class T>
  using Buffer = fathom::Buffer<T>;

  struct Options {
    int threads = 0;  ///< 0: as many as the process may run at the same time, of those that the system gives
  };
  static constexpr Options one_lane(Options options = {}) {
    options.threads = 1;
    return options;
  }

  /// The threads and the memory that ops need while they run.
  class Machine {
   public:
    explicit Machine(const Options& options);

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
    Team team_;
    Indexed<std::vector<Lane>> lanes_;
    Buffer<std::byte> scratch_;
    std::int64_t scratch_each_ = 0;
  };

  template <class Op>
  requires Runs<Ops<P, MatmulEngine>, Op>
  static void run(Lane& lane, const Op& op);

  using Ops<P, Matmul>::scratch_bytes;
  using Ops<P, Matmul>::shared_bytes;
  using Ops<P, Matmul>::held_bytes;
};

template <class P, class MatmulEngine>
template <class Op>
requires Runs<Ops<P, MatmulEngine>, Op>
void Cpu<P, MatmulEngine>::run(Lane& lane, const Op& op) {
  Ops<P, MatmulEngine>::run(lane, op);
}

template <class P, class MatmulEngine>
Cpu<P, MatmulEngine>::Machine::Machine(const Options& options) : team_(options.threads) {
  for (int number = 0; number < team_.size(); ++number) lanes_.emplace_back(number);
#if defined(__OPTIMIZE__)
  constexpr bool optimized = true;
#else
  constexpr bool optimized = false;
#endif
  remark_on_slow_build(optimized, compiled_for);
}

/// What fathom::compiled holds of Cpu<P>: `keyword` is extern to declare it, nothing to define it.
#define FATHOM_CPU_OP(Op, keyword, P) keyword template void Cpu<P>::run(Cpu<P>::Lane&, const op::Op<P>&);
#define FATHOM_CPU(keyword, P)                                           \
  FATHOM_EACH_OP(FATHOM_CPU_OP, keyword, P)                              \
  keyword template void cpu::Lane<Deferred<P, DefaultMatmul>>::settle(); \
  keyword template Cpu<P>::Machine::Machine(const Options&);

#if defined(FATHOM_COMPILED)
FATHOM_CPU(extern, Single)
FATHOM_CPU(extern, Double)
FATHOM_CPU(extern, Mixed)
#endif

}  // namespace cpu::inline FATHOM_CPU_ABI

static_assert(CompleteBackend<Cpu<>> && CompleteBackend<Cpu<Double>> && CompleteBackend<Cpu<Mixed>>);

}  // namespace fathom::inline FATHOM_ABI
