// SPDX-License-Identifier: Apache-2.0
#include <concepts>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/backend/recorder.hpp>
#include <fathom/backend/ref/ref.hpp>

namespace {
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
constexpr bool each_is_needed = (!Backend<Without<Ops>> && ...);

static_assert(Backend<Without<NoOp>>);
static_assert(each_is_needed<op::Linear, op::LinearBackwardInput, op::LinearBackwardWeight, op::LinearCrossEntropy>);
static_assert(each_is_needed<op::Attention, op::AttentionBackward, op::Rotary>);
static_assert(each_is_needed<op::Activation, op::ActivationBackward, op::Norm, op::NormBackward, op::ResidualAddNorm>);
static_assert(each_is_needed<op::ResidualAdd, op::ResidualAddBackward, op::WeightedSum, op::WeightedSumBackward>);
static_assert(each_is_needed<op::Variance, op::Copy, op::Zero, op::Embedding, op::EmbeddingBackward>);
static_assert(each_is_needed<op::SumOfSquares, op::Sgd, op::Adam, op::Lion, op::Adafactor, op::Average, op::Scale>);

/// Runs the ops of another precision.
struct OfFloat : Ref<float> {
  using Precision = Double;
};
static_assert(!Backend<OfFloat> && !Backend<Double> && !Backend<int>);

// Decorators of backends are backends.
static_assert(Backend<Cpu<>> && Backend<Recorded<Cpu<>>> && Backend<Recorded<Recorded<Ref<float>>>>);
static_assert(Backend<DryRun<Cpu<Double>>> && !Backend<Recorded<Without<op::Zero>>>);

}  // namespace
