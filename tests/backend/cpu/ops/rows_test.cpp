// SPDX-License-Identifier: Apache-2.0
#include "check_op.hpp"

using namespace fathom_test;

namespace {

constexpr int width = 36;
constexpr auto activations = {ActivationKind::relu, ActivationKind::gelu, ActivationKind::gelu_tanh,
                              ActivationKind::silu};
constexpr auto norms = {NormKind::layer, NormKind::rms};

/// How many factors are learned in the scales of a join: none, one, or one for each channel.
struct Learned {
  int a, b;
};
constexpr Learned learned_factors[] = {{0, 0}, {1, 0}, {0, 1}, {width, width}};

template <class P>
JoinScale<P> scale(Operands<P>& o, double constant, int learned) {
  return {constant, o.values(learned)};
}

}  // namespace

TEST_CASE("activation", "[cpu][threads]") {
  for (const auto kind : activations)
    for (const bool gated : {false, true})
      check_op(
          [=]<class P>(Operands<P>& o) {
            return op::Activation<P>{.kind = kind,
                                     .gated = gated,
                                     .dropout = o.dropout,
                                     .x = o.rows_of(gated ? 2 * width : width),
                                     .y = o.poison(width)};
          },
          {.dropout = true});
}

TEST_CASE("activation, backward", "[cpu][threads]") {
  for (const auto kind : activations)
    for (const bool gated : {false, true})
      for (const bool in_place : {false, true}) {
        if (gated && in_place) continue;
        check_op(
            [=]<class P>(Operands<P>& o) {
              const int x_width = gated ? 2 * width : width;
              op::ActivationBackward<P> op{.kind = kind,
                                           .gated = gated,
                                           .dropout = o.dropout,
                                           .x = o.rows_of(x_width),
                                           .dy = {},
                                           .dx = o.poison(x_width),
                                           .y = o.poison(width)};
              const auto dy = o.rows_of(width);
              op.dy = dy;
              if (in_place) op.dx = dy;
              return op;
            },
            {.dropout = true});
      }
}

TEST_CASE("norm", "[cpu][threads]") {
  for (const auto kind : norms)
    for (const bool bias : {false, true})
      check_op([=]<class P>(Operands<P>& o) {
        return op::Norm<P>{.kind = kind,
                           .epsilon = 1e-5,
                           .x = o.rows_of(width),
                           .gain = o.values(width),
                           .bias = o.values(bias ? width : 0),
                           .y = o.poison(width),
                           .mean = kind == NormKind::rms ? std::span<typename P::Statistic>{} : o.poisoned_statistic(),
                           .rstd = o.poisoned_statistic()};
      });
}

namespace {

enum class Alias { none, dy, skip };

template <class P>
op::NormBackward<P> norm_backward(Operands<P>& o, NormKind kind, int columns, bool skip, Alias alias = Alias::none) {
  const auto mean = o.values(kind == NormKind::rms ? 0 : o.rows()), rstd = o.values(o.rows());
  std::ranges::fill(mean, typename P::Statistic(0.125));  // any will do, if rstd is positive
  std::ranges::fill(rstd, typename P::Statistic(0.75));
  const auto dy = o.rows_of(columns), residual = o.rows_of(columns);
  return {.kind = kind,
          .x = o.rows_of(columns),
          .mean = mean,
          .rstd = rstd,
          .gain = o.values(columns),
          .dy = dy,
          .skip = skip ? Skip<P>{residual, 1.5} : Skip<P>{},
          .dx = alias == Alias::dy     ? dy
                : alias == Alias::skip ? residual
                                       : o.poison(columns),
          .dgain = o.values(columns),
          .dbias = o.values(kind == NormKind::rms ? 0 : columns)};
}

}  // namespace

TEST_CASE("norm, backward", "[cpu][threads]") {
  for (const auto kind : norms)
    for (const bool skip : {false, true})
      for (const auto alias : {Alias::none, Alias::dy, Alias::skip}) {
        if (alias == Alias::skip && !skip) continue;
        check_op([=]<class P>(Operands<P>& o) { return norm_backward(o, kind, width, skip, alias); });
      }
}

TEST_CASE("norm, backward, more often than a lane can put work off", "[cpu][threads]") {
  const auto make = []<class P>(Operands<P>& o) {
    const bool late = o.buffers().size() > 400;  // in the second half of the frame, with larger partial sums
    return norm_backward(o, NormKind::layer, late ? 64 : 4, false);
  };
  check_op(all_rows().back(), make, {.times = 90});
}

TEST_CASE("join", "[cpu][threads]") {
  enum class Into { y, x, f };
  for (const auto into : {Into::y, Into::x, Into::f})
    for (const auto [a, b] : learned_factors)
      check_op(
          [=]<class P>(Operands<P>& o) {
            const auto x = o.rows_of(width), f = o.rows_of(width);
            return op::Join<P>{.x = x,
                               .f = f,
                               .a = scale(o, 1.5, a),
                               .b = scale(o, b == 0 ? 1 : 0.75, b),
                               .dropout = o.dropout,
                               .y = into == Into::x   ? x
                                    : into == Into::f ? f
                                                      : o.poison(width)};
          },
          {.dropout = true});
}

TEST_CASE("join, backward", "[cpu][threads]") {
  for (const auto [a, b] : learned_factors)
    for (const bool dx : {false, true})
      for (const bool df : {false, true}) {
        if (b > 0 && !df) continue;
        check_op(
            [=]<class P>(Operands<P>& o) {
              using View = Matrix<typename P::Stream>;
              return op::JoinBackward<P>{.x = a > 0 ? o.rows_of(width) : View{},
                                         .f = b > 0 ? o.rows_of(width) : View{},
                                         .a = scale(o, 1.5, a),
                                         .b = scale(o, 0.75, b),
                                         .dropout = o.dropout,
                                         .dy = o.rows_of(width),
                                         .dx = dx ? o.poison(width) : View{},
                                         .df = df ? o.poison(width) : View{},
                                         .da = o.values(a),
                                         .db = o.values(b)};
            },
            {.dropout = true});
      }
}

TEST_CASE("join + norm", "[cpu][threads]") {
  for (const auto kind : norms)
    for (const bool in_place : {false, true})
      for (const auto [a, b] : learned_factors)
        check_op(
            [=]<class P>(Operands<P>& o) {
              const auto f = o.rows_of(width);
              return op::JoinNorm<P>{
                  .x = o.rows_of(width),
                  .f = f,
                  .a = scale(o, 2.5, a),
                  .b = scale(o, 1, b),
                  .dropout = o.dropout,
                  .kind = kind,
                  .epsilon = 1e-5,
                  .gain = o.values(width),
                  .bias = o.values(kind == NormKind::layer ? width : 0),
                  .z = in_place ? f : o.poison(width),
                  .mean = kind == NormKind::rms ? std::span<typename P::Statistic>{} : o.poisoned_statistic(),
                  .rstd = o.poisoned_statistic(),
                  .y = o.poison(width)};
            },
            {.dropout = true});
}
