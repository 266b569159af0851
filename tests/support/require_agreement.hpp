// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/testing/compare.hpp>
#include <fathom/testing/layer_run.hpp>
#include <string>

namespace fathom_test {

/// Output and gradients of a layer on backend `B` agree with those on `Ref<double>`, for equal inputs and dropout
/// masks, with a skip and with gradients that are added to. The error is relative above a share of a tensor's largest
/// value, `floor`: below it the rounding of larger neighbours shows.
template <class L, class B>
void require_agreement_with_ref(const fathom::testing::LayerRows& batch, double tolerance,
                                const typename B::Options& machine = {}, double floor = 0.01) {
  using namespace fathom;
  const auto run = [&](auto& layer) {
    using Run = std::remove_reference_t<decltype(layer)>;
    layer.pass = {Key{1}, {0.1, 0.25, 0.4, 0.3}};
    layer.randomize(1);
    layer.fill_normal(layer.gradients, Key{2});
    layer.fill_normal(layer.memory_gradient, Key{3});
    typename Run::Memory skip(layer.x.size());
    layer.fill_normal(skip, Key{4});
    layer.poison();
    layer.forward();
    layer.poison_workspace();
    layer.backward({{std::as_const(skip).data(), int(layer.rows()), L::input_width}, 0.75});
  };
  testing::LayerRun<L, B> actual(batch, machine);
  testing::LayerRun<L, Ref<double>> expected(batch);
  run(actual);
  run(expected);

  const auto require_equal = [&](const std::string& name, const auto& a, const auto& b) {
    double largest = 0;
    for (const double value : b) largest = std::max(largest, std::abs(value));
    const auto worst = testing::compare(std::span(a), std::span(b), floor * largest);
    INFO(name << '[' << worst.column << "]: " << worst.actual << ", expected " << worst.expected);
    REQUIRE(worst.error <= tolerance);
  };
  require_equal("y", values_of(actual.y), values_of(expected.y));
  require_equal("dx", values_of(actual.dx), values_of(expected.dx));
  require_equal("memory gradient", values_of(actual.memory_gradient), values_of(expected.memory_gradient));
  for (const ParameterInfo& info : describe<L>())
    require_equal(info.name, read_tensor(actual.gradients, info), read_tensor(expected.gradients, info));
}

}  // namespace fathom_test
