// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/backends.hpp>
#include <fathom/backend/worker.hpp>
#include <fathom/core/arithmetic.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// Bytes that a pass needs besides weights and saved activations, found by a dry run.
struct WorkspaceSize {
  std::int64_t workspace = 0;  ///< temporaries of layers and ops, shared by all lanes
  std::int64_t scratch = 0;    ///< of one op, per lane

  constexpr std::int64_t total(int lanes) const { return workspace + lanes * align_up(scratch); }
  friend constexpr WorkspaceSize max(WorkspaceSize a, WorkspaceSize b) {
    return {std::max(a.workspace, b.workspace), std::max(a.scratch, b.scratch)};
  }
};

/// What every caller brings: the threads or streams of a backend, the workspace of the passes it runs, and the slots of
/// their results. Not shared between threads; weights are.
template <class B>
class Context {
  static_assert(CheckBackend<B>::value);

 public:
  using Options = typename B::Options;

  /// Errors: `Error` for a program that was compiled with a part of -ffast-math.
  explicit Context(const Options& options = {}) : machine_(options) { check_arithmetic(); }

  /// Makes sure that passes of this size run without allocating. Keeps what is large enough.
  void reserve(const WorkspaceSize& size) {
    if (workspace_.size() < size.workspace) workspace_ = typename B::template Buffer<std::byte>(size.workspace);
    machine_.reserve(size.scratch);
  }

  /// Makes every byte of the workspace `value`: what a pass takes of it holds anything, and a test says what.
  void fill_workspace(std::byte value) {
    workspace_.upload(0, std::vector(std::size_t(workspace_.size()), value));
  }

  /// Runs f(worker) on every lane, all with the same arguments, and waits. Errors thrown by f are rethrown here.
  template <class F>
  void run(const Packing& packing, const Pass& pass, F&& f) {
    machine_.run([&](typename B::Lane& lane) {
      Arena arena = arena_of(workspace_);
      Worker<B> worker(lane, arena, packing, pass, slots_.data());
      f(worker);
      lane.settle();
    });
  }

  /// Bytes that `reserve` has allocated. The slots are not among them.
  std::int64_t allocated_bytes() const { return workspace_.size() + machine_.allocated_bytes(); }
  int lanes() const { return machine_.lanes(); }
  typename B::Machine& machine() { return machine_; }

 private:
  typename B::Machine machine_;
  typename B::template Buffer<std::byte> workspace_;
  typename B::template Buffer<Slots> slots_{1};
};

}  // namespace fathom::inline FATHOM_ABI
