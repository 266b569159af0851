// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <fathom/testing/gradient_check.hpp>

namespace fathom_test {

/// The gradients of a layer agree with central differences to 1e-6, without and with dropout.
template <class L, class B = fathom::Ref<double>>
void require_gradients(fathom::testing::GradientCheckOptions options = {}, const typename B::Options& machine = {}) {
  for (const fathom::DropoutRates& dropout : {fathom::DropoutRates{}, fathom::DropoutRates{0.1, 0.25, 0.4, 0.3}}) {
    options.dropout = dropout;
    const auto report = fathom::testing::check_gradients<L, B>(options, machine);
    INFO(report.text());
    REQUIRE(report.error <= 1e-6);
  }
}

/// The same for layers that read a side input, and for layers with kinks.
template <class L, class B = fathom::Ref<double>>
void require_gradients_with_memory(int width, const typename B::Options& machine = {}) {
  require_gradients<L, B>({.batch = {.memory_lengths = {2, 5, 3}, .memory_width = width}}, machine);
}
template <class L, class B = fathom::Ref<double>>
void require_gradients_around_kinks(const typename B::Options& machine = {}) {
  require_gradients<L, B>({.step = 0x1p-17, .floor = 1e-3}, machine);
}

}  // namespace fathom_test
