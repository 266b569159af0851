// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/layers/residual.hpp>
#include <functional>
#include <numeric>
#include <vector>

#include "support/layer_lists.hpp"
#include "support/require_gradients.hpp"

namespace residual_test {

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("gradients of residual sublayers agree with differences", "[layers]", ResidualLayers) {
  require_gradients<TestType>();
}

template <class L, class B>
void require_restored_bits() {
  testing::LayerRun<L, B> run;
  run.pass = {Key{1}, {.residual = 0.25}};
  run.randomize(1);
  run.poison();
  run.forward();
  const std::vector expected(run.y.span().begin(), run.y.span().end());
  run.poison_workspace();
  std::ranges::fill(run.y.span(), 0);
  run.restore();
  REQUIRE(std::ranges::equal(run.y.span(), expected));
}

TEMPLATE_TEST_CASE("an output that is restored has the bits that forward gave it", "[layers]",
                   (Residual<DeepNorm<1.7>, FeedForward<6, 10>>),
                   (Residual<PostNorm, FeedForward<70, 10>, RmsNorm<70>>), (Residual<Admin, FeedForward<6, 10>>),
                   (Sequence<Linear<6, 6>, Residual<PostNorm, FeedForward<6, 10>>>)) {
  require_restored_bits<TestType, Ref<double>>();
  require_restored_bits<TestType, Cpu<Double>>();
  require_restored_bits<TestType, Cpu<Single>>();
}

/// Population variance.
double variance_of(const std::vector<double>& values) {
  const double mean = std::reduce(values.begin(), values.end()) / double(values.size());
  return std::transform_reduce(values.begin(), values.end(), 0.0, std::plus<>{},
                               [=](double value) { return (value - mean) * (value - mean); }) /
         double(values.size());
}

/// The scales of three sublayers by hand, without dropout, and by a profiling pass.
template <class Policy>
void require_profile(bool unit_input) {
  using P = Double;
  using Stack = Repeat<3, Residual<Policy, Branch>>;
  testing::LayerRun<Stack> run({.lengths = {20}});
  run.randomize(1);
  std::vector<double> expected{1};
  Context<Ref<double>> context;
  const PackedRows packed = PackedRows::uniform(1, 20);
  context.reserve({.workspace = 1_MiB});
  const auto p = bind_parameters<Stack, const double>(run.parameters.data());
  std::vector<double> x(run.x.data(), run.x.data() + run.x.size()), f(x.size()), y(x.size());
  Buffer<std::byte> saved_memory(saved_bytes<Stack, P>(packed.capacity()));
  for (int index = 0; index < 3; ++index)
    context.run(packed, Pass{}, [&](auto& worker) {
      Arena arena = arena_of(saved_memory);
      auto saved = Branch::Saved<P>::take(arena, packed.capacity());
      auto norm = LayerNorm<6>::Saved<P>::take(arena, packed.capacity());
      const auto block = p.blocks.any_count()[index];
      const Rows<double, 6> x_rows(x.data(), 20), f_rows(f.data(), 20), y_rows(y.data(), 20);
      Branch::forward(worker, block.sublayer, Flow<P>{}, x_rows, f_rows, saved);
      const double scale = expected.back();
      expected.push_back(std::sqrt(scale * scale * (unit_input ? 1 : variance_of(x)) + variance_of(f)));
      for (std::size_t i = 0; i < x.size(); ++i) f[i] += scale * x[i];
      LayerNorm<6>::forward(worker, block.post_norm, Flow<P>{}, f_rows, y_rows, norm);
      x = y;
    });

  std::vector<double> scales(3);
  AdminProfile profile{.scales = scales.data()};
  context.run(packed, Pass{}, [&](auto& worker) {
    Arena arena = arena_of(saved_memory);
    auto saved = Stack::template Saved<P>::take(arena, packed.capacity());
    Flow<P> flow;
    flow.profile = &profile;
    Stack::forward(worker, p, flow, Rows<const double, 6>(run.x.data(), 20), Rows<double, 6>(y.data(), 20), saved);
  });
  REQUIRE(profile.count == 3);
  scales.push_back(profile.scale);
  for (std::size_t i = 0; i < 4; ++i) REQUIRE(std::abs(scales[i] - expected[i]) < 1e-12);
}

TEST_CASE("Admin's profiling pass scales every skip by what came before it", "[layers]") {
  require_profile<Admin>(false);
  require_profile<AdminOfUnitInput>(true);
}

TEST_CASE("a policy's gain reaches the matrices of its branch", "[layers]") {
  for (const ParameterInfo& info : describe<Repeat<4, Residual<PostNormInit, Branch>>>()) {
    const bool matrix = info.name.ends_with("weight");
    REQUIRE(info.gain == (matrix ? 1.0 / (4 - info.block.index) : 1));
  }
  for (const ParameterInfo& info : describe<Residual<DeepNorm<2.0, 0.25>, Attention<8, 2>>>()) {
    const bool scaled = info.name == "value.weight" || info.name == "output.weight";
    INFO(info.name);
    REQUIRE(info.gain == (scaled ? 0.25 : 1));
  }
}

static_assert(parameter_count<Residual<PlainResidual, Branch>>() == parameter_count<Branch>());
static_assert(parameter_count<Residual<PostNorm, Branch>>() == parameter_count<Branch>() + 12);
static_assert(parameter_count<Residual<ReZero, Branch>>() == parameter_count<Branch>() + 1);
static_assert(parameter_count<Residual<Admin, Branch>>() == parameter_count<Branch>() + 18);
static_assert(parameter_count<Residual<PreNorm, Branch, RmsNorm<6>>>() == parameter_count<Branch>() + 6);

}  // namespace residual_test
