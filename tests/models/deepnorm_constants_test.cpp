// SPDX-License-Identifier: Apache-2.0
#include <fathom/models/deepnorm_constants.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <utility>

namespace deepnorm_constants_test {

namespace deepnorm = fathom::deepnorm;

constexpr bool near(double value, double expected, double tolerance = 1e-6) {
  return value - expected <= tolerance && expected - value <= tolerance;
}

constexpr bool near(deepnorm::Constants value, deepnorm::Constants expected) {
  return near(value.alpha, expected.alpha) && near(value.beta, expected.beta);
}

/// One row of the table for N = M: the single stack, then encoder and decoder of an encoder-decoder, each to 6
/// decimals.
constexpr bool has_row(int depth, deepnorm::Constants single, deepnorm::Constants encoder,
                       deepnorm::Constants decoder) {
  const auto both = deepnorm::encoder_decoder(depth, depth);
  return near(deepnorm::encoder_only(depth), single) && near(deepnorm::decoder_only(depth), single) &&
         near(both.encoder, encoder) && near(both.decoder, decoder);
}

static_assert(has_row(6, {1.861210, 0.379918}, {1.417938, 0.496989}, {2.059767, 0.343295}));
static_assert(has_row(12, {2.213364, 0.319472}, {1.760878, 0.400198}, {2.449490, 0.288675}));
static_assert(has_row(18, {2.449490, 0.288675}, {1.998746, 0.352571}, {2.710806, 0.260847}));
static_assert(has_row(50, {3.162278, 0.223607}, {2.750509, 0.256207}, {3.499636, 0.202052}));
static_assert(has_row(100, {3.760603, 0.188030}, {3.415742, 0.206310}, {4.161791, 0.169904}));
static_assert(has_row(500, {5.623413, 0.125743}, {5.648240, 0.124765}, {6.223330, 0.113622}));
static_assert(!has_row(501, {5.623413, 0.125743}, {5.648240, 0.124765}, {6.223330, 0.113622}));

// Encoder and decoder depths are not exchangeable: (18^4 * 6)^(1/16) = 2.3038, (6^4 * 18)^(1/16) = 1.8750
static_assert(near(deepnorm::encoder_decoder(18, 6).encoder.alpha, 0.81 * 2.303841, 1e-6));
static_assert(near(deepnorm::encoder_decoder(6, 18).encoder.alpha, 0.81 * 1.874961, 1e-6));
static_assert(near(deepnorm::encoder_decoder(18, 6).decoder.alpha, deepnorm::encoder_decoder(6, 6).decoder.alpha, 0));

// Usable as template arguments, in the depths for which DeepNorm was made and beyond.
template <double Alpha>
struct Skip {
  static constexpr double alpha = Alpha;
};
static_assert(Skip<deepnorm::decoder_only(8).alpha>::alpha == 2);
static_assert(near(Skip<deepnorm::decoder_only(1'000'000).alpha>::alpha, 37.606030930863936, 1e-12));
static_assert(near(deepnorm::encoder_decoder(1'000'000, 1'000'000).encoder.alpha, 0.81 * 74.98942093324559, 1e-12));

/// The paper's unit bounds on the expected model update, which the constants were solved for.
constexpr double single_stack_bound(int layers, deepnorm::Constants c) {
  return 2 * layers * 2 * c.beta * c.beta / (c.alpha * c.alpha);
}
constexpr double decoder_bound(int layers, deepnorm::Constants c) {
  return 3 * layers * 2 * c.beta * c.beta / (c.alpha * c.alpha);
}
constexpr double encoder_bound(int encoder_layers, int decoder_layers, deepnorm::EncoderDecoderConstants c) {
  return decoder_layers * c.decoder.beta * c.decoder.beta / c.decoder.alpha *
         single_stack_bound(encoder_layers, c.encoder);
}

constexpr bool identities_hold(int n, int m) {
  const double half_root = 1 / std::numbers::sqrt2;
  const auto product = [](deepnorm::Constants c) { return c.alpha * c.beta; };
  const auto single = deepnorm::encoder_only(n);
  const auto rounded = deepnorm::encoder_decoder(n, m);
  const auto exact = deepnorm::exact::encoder_decoder(n, m);
  return near(product(single), half_root, 1e-15) && near(product(rounded.decoder), half_root, 1e-15) &&
         near(product(rounded.encoder), 0.7047, 1e-15) && near(product(exact.encoder), half_root, 1e-15) &&
         near(deepnorm::exact::beta(single.alpha), single.beta, 1e-15) &&
         near(single_stack_bound(n, single), 1, 4e-15) && near(decoder_bound(m, exact.decoder), 1, 4e-15) &&
         near(exact.encoder.alpha / rounded.encoder.alpha, 0.8138414 / 0.81, 1e-7) &&
         near(exact.encoder.beta / rounded.encoder.beta, 0.8688509 / 0.87, 1e-7);
}
static_assert(identities_hold(1, 1) && identities_hold(6, 6) && identities_hold(18, 50) && identities_hold(50, 18));
static_assert(identities_hold(1'000, 1) && identities_hold(1'000'000, 999'999));

// A depth that is no depth is no constant expression.
template <int Layers, double = deepnorm::decoder_only(Layers).alpha>
consteval bool compiles(int) {
  return true;
}
template <int>
consteval bool compiles(long) {
  return false;
}
static_assert(compiles<1>(0) && !compiles<0>(0) && !compiles<-3>(0));

TEST_CASE("the encoder's unit bound holds exactly, and within 1.3 % with the printed constants", "[deepnorm]") {
  for (const auto& [n, m] : {std::pair{6, 6}, {18, 50}, {500, 500}}) {
    CHECK(std::abs(encoder_bound(n, m, deepnorm::exact::encoder_decoder(n, m)) - 1) < 1e-14);
    CHECK(std::abs(encoder_bound(n, m, deepnorm::encoder_decoder(n, m)) - 1.0122) < 1e-4);
  }
}

TEST_CASE("a depth below one throws at run time", "[deepnorm]") {
  volatile int none = 0, one = 1;
  CHECK_THROWS_AS(deepnorm::encoder_only(none), fathom::Error);
  CHECK_THROWS_AS(deepnorm::decoder_only(-one), fathom::Error);
  CHECK_THROWS_AS(deepnorm::encoder_decoder(none, one), fathom::Error);
  CHECK_THROWS_AS(deepnorm::encoder_decoder(one, none), fathom::Error);
  CHECK_THROWS_AS(deepnorm::exact::encoder_decoder(one, none), fathom::Error);
  CHECK_NOTHROW(deepnorm::exact::encoder_decoder(one, one));
}

TEST_CASE("the constants are exact to a few units in the last place, to a million layers", "[deepnorm]") {
  const auto ulps = [](double value, double expected) {
    return std::abs(value - expected) / (std::numeric_limits<double>::epsilon() * expected);
  };
  for (int n = 1; n <= 1'000'000; n = n * 7 / 5 + 1) {
    const double depth = n;
    REQUIRE(ulps(deepnorm::decoder_only(n).alpha, std::pow(2 * depth, 0.25)) <= 2);
    REQUIRE(ulps(deepnorm::decoder_only(n).beta, std::pow(8 * depth, -0.25)) <= 3);
    const double scale = std::pow(depth, 0.25) * std::pow(3 * depth, 0.0625);
    REQUIRE(ulps(deepnorm::encoder_decoder(n, 3 * n).encoder.alpha, 0.81 * scale) <= 4);
  }
}

}  // namespace deepnorm_constants_test
