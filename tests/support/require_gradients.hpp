// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/testing/gradient_check.hpp>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace fathom_test {
using namespace fathom;

/// Lengths of `count` sequences, from the seed: between 1 and 5 rows.
inline std::vector<int> drawn_lengths(std::uint64_t seed, int count) {
  std::vector<int> lengths;
  const Philox random(Key{seed}.child("lengths"));
  for (int i = 0; i < count; ++i)
    lengths.push_back(1 + int(below(5, low_bits(random(std::uint64_t(i), std::uint64_t(count))))));
  return lengths;
}

/// At the initial values, whose zeros and ones make a point of their own: the slope of <dy, forward(x)> along a random
/// direction of each tensor is the one that backward gives.
template <class L, class B>
void require_initial_slopes(const testing::GradientCheckOptions& options, const typename B::Options& machine) {
  testing::LayerRun<L, B> run(options.batch, machine);
  run.pass = {Key{options.seed}, options.dropout};
  run.randomize(options.seed);
  Context<B> context(B::one_lane());
  initialize(context, run.parameters, describe<L>(), options.seed);
  run.poison();
  run.forward();
  run.backward();

  const auto require_slope = [&](const std::string& name, std::span<double> values, std::span<double> gradient) {
    const std::vector center(values.begin(), values.end());
    Buffer<double> direction(std::ssize(values));
    run.fill_normal(direction, Key{options.seed}.child("direction").child(name));
    const auto output_at = [&](double step) {
      for (std::size_t i = 0; i < center.size(); ++i) values[i] = center[i] + step * direction.data()[i];
      run.forward();
      return std::vector(run.y.span().begin(), run.y.span().end());
    };
    const auto difference = [&](double step) {
      const std::vector right = output_at(step), left = output_at(-step);
      return std::transform_reduce(run.dy.data(), run.dy.data() + run.dy.size(), right.begin(), 0.0) -
             std::transform_reduce(run.dy.data(), run.dy.data() + run.dy.size(), left.begin(), 0.0);
    };
    const double expected = (8 * difference(options.step) - difference(2 * options.step)) / (12 * options.step);
    const double actual = std::transform_reduce(gradient.begin(), gradient.end(), direction.data(), 0.0);
    output_at(0);
    INFO(name << " at the initial values: slope " << actual << " by backward, " << expected
              << " by central differences");
    REQUIRE(testing::relative_error(actual, expected, 10 * options.floor) <= 1e-6);
  };
  require_slope("x", run.x.span(), run.dx.span());
  require_slope("memory", run.memory.span(), run.memory_gradient.span());
  for (const ParameterInfo& info : describe<L>())
    require_slope(info.name, run.parameters.span().subspan(info.offset, info.size()),
                  run.gradients.span().subspan(info.offset, info.size()));
}

/// The gradients of a layer agree with central differences to 1e-6: for sequences of drawn lengths and for a single
/// row, without and with dropout, at random parameters and at the initial ones.
template <class L, class B = Ref<double>>
void require_gradients(testing::GradientCheckOptions options = {}, const typename B::Options& machine = {}) {
  for (const std::uint64_t seed : {1, 2})
    for (const std::vector<int>& lengths : {drawn_lengths(seed, 3), std::vector{1}})
      for (const DropoutRates& dropout : {DropoutRates{}, DropoutRates{0.1, 0.25, 0.4, 0.3}}) {
        options.seed = seed;
        options.batch.lengths = lengths;
        if (options.batch.memory_width > 0) options.batch.memory_lengths = drawn_lengths(seed + 2, int(lengths.size()));
        options.dropout = dropout;
        INFO("seed " << seed << ", " << lengths.size() << " sequences, residual dropout " << dropout.residual);
        const auto report = testing::check_gradients<L, B>(options, machine);
        INFO(report.text());
        REQUIRE(report.error <= 1e-6);
        require_initial_slopes<L, B>(options, machine);
      }
}

/// The same for layers that read a side input, and for layers with kinks.
template <class L, class B = Ref<double>>
void require_gradients_with_memory(int width, const typename B::Options& machine = {}) {
  require_gradients<L, B>({.batch = {.memory_width = width}}, machine);
}
template <class L, class B = Ref<double>>
void require_gradients_around_kinks(const typename B::Options& machine = {}) {
  require_gradients<L, B>({.step = 0x1p-17, .floor = 1e-3}, machine);
}

}  // namespace fathom_test
