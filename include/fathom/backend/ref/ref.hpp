// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/backends.hpp>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/ref/activation.hpp>
#include <fathom/backend/ref/attention.hpp>
#include <fathom/backend/ref/embedding.hpp>
#include <fathom/backend/ref/linear.hpp>
#include <fathom/backend/ref/loss.hpp>
#include <fathom/backend/ref/norm.hpp>
#include <fathom/backend/ref/residual.hpp>
#include <fathom/backend/ref/update.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>

namespace fathom::inline FATHOM_ABI {

namespace ref {
template <class P, class Op>
concept Computes = requires(const Packing& packing, const Op& op) { run<P>(packing, op); };

/// `Ref<float>` is short for the backend of `Uniform<float>`.
template <class P>
struct AsPrecision {
  using type = P;
};
template <Number T>
struct AsPrecision<T> {
  using type = Uniform<T>;
};
}  // namespace ref

/// The plain reference backend: every op as its formula, in loops, on the calling thread. The judge of all others.
///
/// `P` is a precision, or a number that stands for `Uniform<P>`. Arithmetic and sums are in T for `Uniform<T>`, in float
/// for every other precision, also where all is of 16 bits; updates are in the type of the masters. Each result is
/// rounded once, where it is stored. Slow, and ops may allocate; meant for tests and for reading.
template <class P>
struct Ref : NeedsNoMemory {
  using Precision = typename ref::AsPrecision<P>::type;
  struct Options {};
  template <class Element>
  using Buffer = fathom::Buffer<Element>;
  using Lane = QuietLane;

  struct Machine {
    explicit Machine(const Options& = {}) {}
    void reserve(std::int64_t) {}
    void run(auto&& f) {
      Lane lane;
      f(lane);
    }
    int lanes() const { return 1; }
    std::int64_t allocated_bytes() const { return 0; }
  };
  static constexpr Options one_lane(const Options& = {}) { return {}; }

  template <class Op>
    requires ref::Computes<typename ref::AsPrecision<P>::type, Op>
  static void run(Lane& lane, const Op& op);
};

template <class P>
template <class Op>
  requires ref::Computes<typename ref::AsPrecision<P>::type, Op>
void Ref<P>::run(Lane& lane, const Op& op) {
  ref::run<Precision>(*lane.packing, op);
}

/// What fathom::compiled holds of Ref<T>: `keyword` is extern to declare it, nothing to define it.
#define FATHOM_REF_OP(Op, keyword, T) keyword template void Ref<T>::run(Ref<T>::Lane&, const op::Op<Uniform<T>>&);
#define FATHOM_REF(keyword, T) FATHOM_EACH_OP(FATHOM_REF_OP, keyword, T)

#if defined(FATHOM_COMPILED)
FATHOM_REF(extern, float)
FATHOM_REF(extern, double)
#endif

static_assert(CompleteBackend<Ref<double>>);

}  // namespace fathom::inline FATHOM_ABI
