// SPDX-License-Identifier: Apache-2.0
#include <concepts>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/backend/recorder.hpp>
#include <fathom/backend/ref/ref.hpp>

namespace backend_test {

using namespace fathom;

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
static_assert(
    each_is_needed<op::LinearForward, op::LinearBackwardInput, op::LinearBackwardWeight, op::LinearCrossEntropy>);
static_assert(each_is_needed<op::RankLogits>);
static_assert(each_is_needed<op::AttentionForward, op::AttentionBackward, op::Rotate, op::CopyCache>);
static_assert(each_is_needed<op::Activation, op::ActivationBackward, op::Norm, op::NormBackward, op::ResidualAddNorm>);
static_assert(each_is_needed<op::ResidualAdd, op::ResidualAddBackward, op::WeightedSum, op::WeightedSumBackward>);
static_assert(each_is_needed<op::Variance, op::Copy, op::Zero, op::Embedding, op::EmbeddingBackward>);
static_assert(each_is_needed<op::SumOfSquares, op::SgdUpdate, op::AdamUpdate, op::LionUpdate, op::AdafactorUpdate,
                             op::Average, op::Scale>);

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
