// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/update_bound.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/layers/stacks.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/translator.hpp>

namespace update_bound_test {

/// The bounds of Theorems 4.2 and 4.3, held to the formulas with the numbers of the paper put in.
using namespace fathom;

constexpr bool near(double a, double b) { return a > b * (1 - 1e-12) && a < b * (1 + 1e-12); }

template <class Policy>
using Block = Sequence<Residual<Policy, Attention<8, 2>>, Residual<Policy, FeedForward<8, 16>>>;
template <class Policy>
using EncoderBlock = Sequence<Residual<Policy, Attention<8, 2, Full>>, Residual<Policy, FeedForward<8, 16>>>;
template <class Policy>
using DecoderBlock = Sequence<Residual<Policy, Attention<8, 2>>, Residual<Policy, CrossAttention<8, 2>>,
                              Residual<Policy, FeedForward<8, 16>>>;
template <int N, class Policy>
using Alone = LanguageModel<Vocabulary<9>, ContextLength<4>, Repeat<N, Block<Policy>>>;
template <int N, int M, class EncoderPolicy, class DecoderPolicy = EncoderPolicy>
using Pair = Translator<Encoder<Vocabulary<9>, ContextLength<4>, Repeat<N, EncoderBlock<EncoderPolicy>>>,
                        Decoder<Vocabulary<9>, ContextLength<4>, Repeat<M, DecoderBlock<DecoderPolicy>>>>;

constexpr double one(const BoundSublayer&) { return 1; }

// Post-LN, α = v = w = 1: 2N · √2 for one stack; M · 2N · √2 + 3M · √2 for two.
constexpr double root = square_root(2.0);
static_assert(near(update_bound<Alone<6, PostNorm>>(one), 12 * root));
static_assert(near(update_bound<Pair<6, 4, PostNorm>>(one), 4 * (12 * root) + 12 * root));
static_assert(near(sgd_update_bound<Alone<500, PostNorm>>(1e-4), 1000 * 2e-4));
static_assert(near(sgd_update_bound<Pair<50, 50, PostNorm>>(1e-4), (50 * (100 * 2) + 150 * 2) * 1e-4));

// DeepNorm: the rate, for any depth, as section 4.2's goal has it.
template <int N>
constexpr double alone_bound = sgd_update_bound<Alone<N, DeepNorm<deepnorm::decoder_only(N).alpha>>>(1e-4);
static_assert(near(alone_bound<1>, 1e-4) && near(alone_bound<6>, 1e-4) && near(alone_bound<1000>, 1e-4));
template <int N, int M>
constexpr auto exact = deepnorm::exact::encoder_decoder(N, M);
template <int N, int M>
constexpr double pair_bound =
    sgd_update_bound<Pair<N, M, DeepNorm<exact<N, M>.encoder.alpha>, DeepNorm<exact<N, M>.decoder.alpha>>>(1e-4);
static_assert(near(pair_bound<6, 6>, 2e-4) && near(pair_bound<12, 3>, 2e-4) && near(pair_bound<500, 500>, 2e-4));

// The constants as the paper has them, rounded: β of 0.87 and α of 0.81 instead of 0.8689 and 0.8138.
constexpr auto rounded = deepnorm::encoder_decoder(18, 18);
using Rounded = Pair<18, 18, DeepNorm<rounded.encoder.alpha, rounded.encoder.beta>,
                     DeepNorm<rounded.decoder.alpha, rounded.decoder.beta>>;
static_assert(sgd_update_bound<Rounded>(1) > 2.01 && sgd_update_bound<Rounded>(1) < 2.015);

// Mistakes: α without β, β without α, and β inverted are all bounds that grow.
template <int N>
constexpr double alpha = deepnorm::decoder_only(N).alpha;
template <int N>
constexpr double inverted = sgd_update_bound<Alone<N, DeepNorm<alpha<N>, square_root(2) * alpha<N>>>>(1);
static_assert(near(sgd_update_bound<Alone<100, DeepNorm<alpha<100>, 1.0>>>(1), 200 * 2 / square_root(200)));
static_assert(inverted<100> > 100 && inverted<500> > 4 * inverted<100>);

// Stacks behind one another are one stack, whose parts have blocks of their own.
template <class... Parts>
using Parted = LanguageModel<Vocabulary<9>, ContextLength<4>, Stacks<Parts...>>;
static_assert(near(update_bound<Parted<Repeat<2, Block<PostNorm>>, Repeat<4, Block<PostNorm>>>>(one), 12 * root));
static_assert(
    near(sgd_update_bound<Parted<Repeat<1, Block<PostNorm>>, Repeat<5, Block<Unchecked<DeepNorm<2.0, 0.5>>>>>>(1),
         2 * 2 + 10 * 0.5 / 4));

// Who moves counts: sublayers are told apart.
static_assert(near(update_bound<Alone<3, PostNorm>>([](const BoundSublayer& s) { return s.index == 4 ? 2.0 : 0.0; }),
                   2 * root));
static_assert(near(update_bound<Pair<3, 2, PostNorm>>([](const BoundSublayer& s) { return s.in_encoder ? 1.0 : 0.0; }),
                   2 * (6 * root)));

TEST_CASE("the bound of an update follows gains that differ from layer to layer, and learned skips", "[models]") {
  // Post-LN-init: v = w = 1 / (N − l + 1) in layer l.
  double sum = 0;
  for (int l = 1; l <= 5; ++l) sum += 2 * 2 / std::pow(5 - l + 1, 2);
  CHECK(std::abs(sgd_update_bound<Alone<5, PostNormInit>>(1) - sum) < 1e-12);
  const double omega = std::sqrt(11 / std::log(11) - 1);
  CHECK(std::abs(sgd_update_bound<Alone<5, AdminClosedForm<10>>>(1) - 10 * 2 / (omega * omega)) < 1e-9);
}

}  // namespace update_bound_test
