// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/backends.hpp>
#include <fathom/backend/ref/activation.hpp>
#include <fathom/backend/ref/attention.hpp>
#include <fathom/backend/ref/embedding.hpp>
#include <fathom/backend/ref/linear.hpp>
#include <fathom/backend/ref/loss.hpp>
#include <fathom/backend/ref/norm.hpp>
#include <fathom/backend/ref/residual.hpp>
#include <fathom/backend/ref/update.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI {

/// The plain reference backend: every op as its formula, in loops, on the calling thread. The judge of all others.
///
/// All arithmetic and every sum is in T. Slow, and ops may allocate; meant for tests and for reading.
template <class T>
struct Ref {
  using Precision = Uniform<T>;
  struct Options {};
  using Lane = QuietLane;

  struct Machine {
    explicit Machine(const Options& = {}) {}
    void reserve(std::int64_t) {}
    void run(auto&& f) {
      Lane lane;
      f(lane);
    }
    int lanes() const { return 1; }
  };

  template <class Op>
  static void run(Lane& lane, const Op& op) requires requires {
    ref::run<T>(*lane.packing, op);
  }
  { ref::run<T>(*lane.packing, op); }
};

static_assert(Backend<Ref<double>>);

}  // namespace fathom::inline FATHOM_ABI
