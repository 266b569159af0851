// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/context.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI {

/// What stands in for backend `B` in a worker that only counts: no arithmetic, no memory and no machine. Layers run on null views, and what B would need is counted. Works
/// in constant evaluation, so a memory plan is a compile-time fact made by the very code that it is about; a stack of
/// equal blocks costs no more of it than three of them.
template <class B>
struct DryRun {
  using Precision = typename B::Precision;

  struct Lane {
    const Packing* packing = nullptr;
    Arena* workspace = nullptr;
    std::int64_t scratch = 0;
    double flops = 0;
    double times = 1;  ///< what runs now stands for that many of its kind

    constexpr void use(Arena& arena) { workspace = &arena; }
    constexpr void on(const Packing& p) { packing = &p; }
    constexpr void settle() {}
    constexpr void enter(std::string_view, int) {}
    constexpr void leave() {}
    constexpr bool first() const { return true; }
    constexpr void wait() {}
    void read(void*, const void*, std::size_t) {}

    template <class F>
    constexpr void repeat(int count, Arena* kept, F&& f) {
      if (count > 0) f(0);
      if (count > 2) {
        const double outer = times;
        const std::int64_t held = workspace->used(), kept_before = kept ? kept->used() : 0;
        times *= count - 2;
        f(1);
        times = outer;
        workspace->take<std::byte>((count - 3) * (workspace->used() - held));
        if (kept) kept->take<std::byte>((count - 3) * (kept->used() - kept_before));
      }
      if (count > 1) f(count - 1);
    }
  };

  template <class Op>
  static constexpr void run(Lane& lane, const Op& op) requires Plans<B, Op> {
    lane.flops += lane.times * op.flops();
    lane.scratch = std::max(lane.scratch, std::int64_t(B::scratch_bytes(op)));
    lane.workspace->template take<std::byte>(B::held_bytes(op, lane.packing->capacity));
    const std::int64_t mark = lane.workspace->used();
    lane.workspace->template take<std::byte>(B::shared_bytes(op));
    lane.workspace->release(mark);
  }
};

/// For counting operations alone.
template <class P>
struct OpsOnly : NeedsNoMemory {
  using Precision = P;
};

/// What a pass costs: run without data for a capacity.
struct PassCost {
  WorkspaceSize size;
  double flops = 0;
};

/// Runs f(worker) dry, worker a `Worker<DryRun<B>>` on rows of `packing`, such as those of a planned batch.
template <class B, class F>
constexpr PassCost dry_run(const Packing& packing, const DropoutRates& dropout, F&& f) {
  typename DryRun<B>::Lane lane;
  Arena arena;
  Worker<DryRun<B>> worker(lane, arena, packing, Pass{{}, dropout});
  f(worker);
  return {{.workspace = arena.peak(), .scratch = lane.scratch}, lane.flops};
}
/// On rows packed to `capacity`.
template <class B, class F>
constexpr PassCost dry_run(const Capacity& capacity, const DropoutRates& dropout, F&& f) {
  return dry_run<B>(Packing{capacity, {}, {}, {}, {}}, dropout, f);
}

}  // namespace fathom::inline FATHOM_ABI
