// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/sample.hpp"

#include <concepts>

namespace sample_test {

using namespace fathom_test;

/// What a maker makes.
template <class Op, class... Arguments>
Op made_by(Op (*)(Arguments...));

template <class Op, class... Made>
constexpr bool is_among = (std::same_as<Op, Made> || ...);

/// Whether there is a maker of an op. A new op has one, and cases in the test of its family.
template <class Op, class P = Single>
constexpr bool has_maker =
    is_among<Op, decltype(made_by(sample::activation<P>)), decltype(made_by(sample::activation_backward<P>)),
             decltype(made_by(sample::attention<P>)), decltype(made_by(sample::attention_backward<P>)),
             decltype(made_by(sample::rotary<P>)), decltype(made_by(sample::copy_cache<P>)),
             decltype(made_by(sample::embedding<P>)), decltype(made_by(sample::embedding_backward<P>)),
             decltype(made_by(sample::linear<P>)), decltype(made_by(sample::linear_backward_input<P>)),
             decltype(made_by(sample::linear_backward_weight<P>)), decltype(made_by(sample::linear_cross_entropy<P>)),
             decltype(made_by(sample::rank_logits<P>)), decltype(made_by(sample::norm<P>)),
             decltype(made_by(sample::norm_backward<P>)), decltype(made_by(sample::residual_add<P>)),
             decltype(made_by(sample::residual_add_backward<P>)), decltype(made_by(sample::residual_add_norm<P>)),
             decltype(made_by(sample::residual_add_norm_backward<P>)), decltype(made_by(sample::shift<P>)),
             decltype(made_by(sample::shift_backward<P>)), decltype(made_by(sample::weighted_sum<P>)),
             decltype(made_by(sample::weighted_sum_backward<P>)), decltype(made_by(sample::variance<P>)),
             decltype(made_by(sample::copy<P>)), decltype(made_by(sample::zero<P>)),
             decltype(made_by(sample::initialize<P>)), decltype(made_by(sample::tensor_squares<P>)),
             decltype(made_by(sample::sum_of_squares<P>)), decltype(made_by(sample::round<P>)),
             decltype(made_by(sample::average<P>)), decltype(made_by(sample::sgd<P>)),
             decltype(made_by(sample::adam<P>)), decltype(made_by(sample::lion<P>)),
             decltype(made_by(sample::adafactor<P>)), decltype(made_by(sample::first_non_finite<P>))>;

#define HAS_MAKER(Op, ...) static_assert(has_maker<op::Op<Single>>);
FATHOM_EACH_OP(HAS_MAKER, )
#undef HAS_MAKER
static_assert(has_maker<op::FirstNonFinite<float>>);

}  // namespace sample_test
