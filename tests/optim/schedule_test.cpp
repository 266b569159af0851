// SPDX-License-Identifier: Apache-2.0
#include <fathom/optim/schedule.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <limits>

namespace schedule_test {

using Catch::Matchers::WithinRel;
using fathom::Constant;
using fathom::Cosine;
using fathom::Error;
using fathom::InverseSquareRoot;
using fathom::WarmupStableDecay;
using Shape = WarmupStableDecay::Shape;

struct TakesInt {
  int operator()(int) const { return 0; }
};
struct NeedsMutation {
  double operator()(std::int64_t) { return 0; }
};
using Lambda = decltype([](std::int64_t step) { return 1.0 / static_cast<double>(step); });

static_assert(fathom::Schedule<Constant> && fathom::Schedule<InverseSquareRoot> && fathom::Schedule<Cosine> &&
              fathom::Schedule<WarmupStableDecay> && fathom::Schedule<Lambda>);
static_assert(!fathom::Schedule<TakesInt> && !fathom::Schedule<NeedsMutation> && !fathom::Schedule<double>);

// Where no root or cosine is taken, a schedule is a constant expression.
static_assert(Constant(3e-4)(1) == 3e-4 && Constant(3e-4)(1'000'000'000'000) == 3e-4);
static_assert(Cosine({.peak = 1, .total_steps = 10, .warmup_steps = 3})(2) == 0.5);
static_assert(WarmupStableDecay(
                  {.peak = 8, .total_steps = 10, .decay_steps = 4, .warmup_steps = 4, .shape = Shape::linear})(8) == 4);

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

TEST_CASE("a constant rate is constant, and finite", "[schedule]") {
  CHECK(Constant(0)(7) == 0);
  for (const double wrong : {-1e-3, nan, infinity}) CHECK_THROWS_AS(Constant(wrong), Error);
}

TEST_CASE("inverse square root: DeepNet's WMT-17 recipe", "[schedule]") {
  const InverseSquareRoot rate({.peak = 1.5e-3, .warmup_steps = 4000});
  CHECK_THAT(rate(1), WithinRel(4.74975e-7, 1e-14));         // 1e-7 + 1.4999e-3 / 4000
  CHECK_THAT(rate(2000), WithinRel(7.5005e-4, 1e-14));       // the middle of 1e-7 and 1.5e-3
  CHECK_THAT(rate(3999), WithinRel(1.499625025e-3, 1e-14));  // 1.5e-3 - 1.4999e-3 / 4000
  CHECK(rate(4000) == 1.5e-3);
  CHECK_THAT(rate(4001), WithinRel(1.4998125351e-3, 1e-10));
  CHECK_THAT(rate(16000), WithinRel(7.5e-4, 1e-14));
  CHECK_THAT(rate(100'000), WithinRel(3e-4, 1e-14));  // sqrt(4000 / 100000) = 0.2
}

TEST_CASE("inverse square root: boundaries and refusals", "[schedule]") {
  const InverseSquareRoot without_warmup({.peak = 1, .warmup_steps = 1, .initial = 0});
  CHECK(without_warmup(1) == 1);
  CHECK(without_warmup(4) == 0.5);
  CHECK(InverseSquareRoot({.peak = 4, .warmup_steps = 4, .initial = 0})(1) == 1);
  CHECK_THROWS_AS(InverseSquareRoot({.peak = 1, .warmup_steps = 0}), Error);
  CHECK_THROWS_AS(InverseSquareRoot({.peak = 1, .warmup_steps = -5}), Error);
  CHECK_THROWS_AS(InverseSquareRoot({.peak = 1e-8, .warmup_steps = 5}), Error);  // below the initial rate
  CHECK_THROWS_AS(InverseSquareRoot({.peak = nan, .warmup_steps = 5}), Error);
  CHECK_THROWS_AS(InverseSquareRoot({.peak = 1, .warmup_steps = 5, .initial = nan}), Error);
  CHECK_THROWS_AS(InverseSquareRoot({.peak = infinity, .warmup_steps = 5}), Error);
}

TEST_CASE("cosine: nanoGPT's setting for a CPU", "[schedule]") {
  // get_lr(it) with learning_rate 1e-3, min_lr 1e-4, warmup_iters 100, lr_decay_iters 2000, and it = step - 1.
  const Cosine rate({.peak = 1e-3, .total_steps = 2000, .warmup_steps = 100, .minimum = 1e-4});
  CHECK_THAT(rate(1), WithinRel(1e-3 / 101, 1e-14));
  CHECK_THAT(rate(100), WithinRel(1e-3 * 100 / 101, 1e-14));
  CHECK(rate(101) == 1e-3);                                       // it = 100 = warmup_iters: the cosine begins
  CHECK_THAT(rate(576), WithinRel(8.681980515339464e-4, 1e-13));  // a quarter: 1e-4 + 9e-4 (1 + sqrt(1/2)) / 2
  CHECK_THAT(rate(1051), WithinRel(5.5e-4, 1e-13));               // half way
  CHECK_THAT(rate(2001), WithinRel(1e-4, 1e-13));                 // it = 2000 = lr_decay_iters
  CHECK(rate(2002) == 1e-4);
  CHECK(rate(1'000'000) == 1e-4);
}

TEST_CASE("cosine: boundaries and refusals", "[schedule]") {
  const Cosine plain({.peak = 2, .total_steps = 2});
  CHECK(plain(1) == 2);
  CHECK_THAT(plain(2), WithinRel(1.0, 1e-14));
  CHECK(plain(3) == 0);
  CHECK_NOTHROW(Cosine({.peak = 1, .total_steps = 10, .warmup_steps = 9}));
  CHECK_THROWS_AS(Cosine({.peak = 1, .total_steps = 10, .warmup_steps = 10}), Error);
  CHECK_THROWS_AS(Cosine({.peak = 1, .total_steps = 10, .warmup_steps = -1}), Error);
  CHECK_THROWS_AS(Cosine({.peak = 1, .total_steps = 0}), Error);
  CHECK_THROWS_AS(Cosine({.peak = 1, .total_steps = 10, .minimum = 1.1}), Error);
  CHECK_THROWS_AS(Cosine({.peak = 1, .total_steps = 10, .minimum = -0.1}), Error);
  CHECK_THROWS_AS(Cosine({.peak = nan, .total_steps = 10}), Error);
}

TEST_CASE("warm-up, stable, decay: both shapes", "[schedule]") {
  for (const Shape shape : {Shape::linear, Shape::one_minus_sqrt}) {
    const WarmupStableDecay rate(
        {.peak = 1, .total_steps = 100, .decay_steps = 16, .warmup_steps = 10, .minimum = 0.2, .shape = shape});
    CHECK_THAT(rate(1), WithinRel(0.1, 1e-14));
    CHECK_THAT(rate(9), WithinRel(0.9, 1e-14));
    CHECK(rate(10) == 1);
    CHECK(rate(50) == 1);
    CHECK(rate(84) == 1);                                                                       // the last stable step
    CHECK_THAT(rate(88), WithinRel(shape == Shape::linear ? 0.2 + 0.8 * 0.75 : 0.6, 1e-14));    // t = 1/4
    CHECK_THAT(rate(93), WithinRel(shape == Shape::linear ? 0.2 + 0.8 * 0.4375 : 0.4, 1e-14));  // t = 9/16
    CHECK(rate(100) == 0.2);
    CHECK(rate(101) == 0.2);
  }
}

TEST_CASE("warm-up, stable, decay: boundaries and refusals", "[schedule]") {
  const WarmupStableDecay shortest({.peak = 1, .total_steps = 1, .decay_steps = 1});
  CHECK(shortest(1) == 0);
  CHECK_NOTHROW(WarmupStableDecay({.peak = 1, .total_steps = 10, .decay_steps = 5, .warmup_steps = 5}));
  CHECK_THROWS_AS(WarmupStableDecay({.peak = 1, .total_steps = 10, .decay_steps = 6, .warmup_steps = 5}), Error);
  CHECK_THROWS_AS(WarmupStableDecay({.peak = 1, .total_steps = 10, .decay_steps = 11}), Error);
  CHECK_THROWS_AS(WarmupStableDecay({.peak = 1, .total_steps = 10, .decay_steps = 0}), Error);
  CHECK_THROWS_AS(WarmupStableDecay({.peak = 1, .total_steps = 10, .decay_steps = 5, .warmup_steps = -1}), Error);
  CHECK_THROWS_AS(WarmupStableDecay({.peak = 1, .total_steps = 10, .decay_steps = 5, .minimum = 2}), Error);
}

TEST_CASE("a step below one is refused by every schedule", "[schedule]") {
  for (const std::int64_t step : {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    CHECK_THROWS_AS(Constant(1)(step), Error);
    CHECK_THROWS_AS(InverseSquareRoot({.peak = 1, .warmup_steps = 5})(step), Error);
    CHECK_THROWS_AS(Cosine({.peak = 1, .total_steps = 10, .warmup_steps = 5})(step), Error);
    CHECK_THROWS_AS(WarmupStableDecay({.peak = 1, .total_steps = 10, .decay_steps = 5})(step), Error);
  }
}

}  // namespace schedule_test
