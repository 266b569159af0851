// SPDX-License-Identifier: Apache-2.0
#include <concepts>
#include <cstddef>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/backend/ref/ref.hpp>

#include "backend/recorder.hpp"

namespace backend_test {

using namespace fathom_test;

/// Runs every op but one.
template <template <class> class Missing>
struct Without : Ref<double> {
  template <class Op>
  requires(!std::same_as<Op, Missing<Precision>>) static void run(Lane&, const Op&);
};
template <class P>
struct NoOp {};

template <template <class> class... Ops>
constexpr bool each_is_needed = ((Backend<Without<Ops>> && !CompleteBackend<Without<Ops>>)&&...);

static_assert(CompleteBackend<Without<NoOp>>);
#define NEEDED(Op, ...) static_assert(each_is_needed<op::Op>);
FATHOM_EACH_OP(NEEDED, )
#undef NEEDED

// A backend that grows says what it has.
static_assert(!RunsLinear<Without<op::LinearForward>> && RunsAttention<Without<op::LinearForward>>);
static_assert(RunsLinear<Without<op::Rotate>> && !RunsAttention<Without<op::Rotate>>);
static_assert(!RunsActivation<Without<op::Activation>> && RunsNorm<Without<op::Activation>>);
static_assert(RunsResidual<Without<op::Norm>> && !RunsNorm<Without<op::Norm>>);
static_assert(!RunsResidual<Without<op::Zero>> && RunsEmbedding<Without<op::Zero>>);
static_assert(!RunsEmbedding<Without<op::Embedding>> && RunsLoss<Without<op::Embedding>>);
static_assert(!RunsLoss<Without<op::LinearCrossEntropy>> && RunsUpdate<Without<op::LinearCrossEntropy>>);
static_assert(!RunsUpdate<Without<op::LionUpdate>>);

/// Runs the ops of another precision.
struct OfFloat : Ref<float> {
  using Precision = Double;
};
static_assert(Backend<OfFloat> && !RunsLinear<OfFloat> && !CompleteBackend<OfFloat>);

/// Lacks a part of the machine each.
struct NoOneLane : Ref<double> {
  static void one_lane();
};
struct NoBuffer : Ref<double> {
  template <class T>
  struct Buffer {
    T* data();
  };
};
struct NoReserve : Ref<double> {
  struct Machine : Ref<double>::Machine {
    void reserve() = delete;
  };
};
struct NoScope : Ref<double> {
  struct Lane : Ref<double>::Lane {
    void enter() = delete;
  };
};
static_assert(!Backend<NoOneLane> && !Backend<NoBuffer> && !Backend<NoReserve> && !Backend<NoScope>);
/// Has buffers of bytes and of weights alone.
struct OnlyTwoBuffers : Ref<double> {
  template <class T>
    requires(std::same_as<T, std::byte> || std::same_as<T, double>)
  using Buffer = fathom::Buffer<T>;
};
/// Its bundle lacks masters.
struct NoMaster : Ref<double> {
  struct Precision : Double {
    using Master = void;
  };
};
static_assert(!Backend<OnlyTwoBuffers> && !Backend<NoMaster>);
static_assert(!Backend<Double> && !Backend<int> && !Backend<OpsOnly<Single>>);

/// Does not say what memory its ops need.
struct NoPlan : Ref<double> {
  static std::int64_t held_bytes(const op::Zero<Precision>&, const Capacity&);
};
static_assert(!RunsNorm<NoPlan> && !CompleteBackend<NoPlan>);

// Decorators of backends are backends; a dry run is none.
static_assert(CompleteBackend<Cpu<>> && CompleteBackend<Recorded<Cpu<>>>);
static_assert(CompleteBackend<Recorded<Recorded<Ref<float>>>> && !CompleteBackend<Recorded<Without<op::Zero>>>);
static_assert(!Backend<DryRun<Cpu<Double>>> && !Backend<DryRun<Ref<double>>>);

}  // namespace backend_test
