// SPDX-License-Identifier: Apache-2.0
#include <fathom/optim/optimizer.hpp>

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/linear.hpp>
#include <fathom/layers/repeat.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/lion.hpp>
#include <fathom/optim/sgd.hpp>
#include <fathom/testing/compare.hpp>
#include <type_traits>

#include "optimizer_run.hpp"
#include "support/near.hpp"

namespace optimizer_test {

using namespace fathom_test;

/// Fused and gated tensors, alignment gaps, learned scales, and a matrix that dwarfs the others and the shards of the
/// elementwise updates.
using Model = Sequence<
    Linear<5, 8>,
    Repeat<3, Sequence<Residual<DeepNorm<1.7>, Attention<8, 2>>, Residual<ReZero, FeedForward<8, 20, SwiGlu>>>>,
    Linear<8, 20'001>>;

struct NotAnOptimizer {
  static constexpr const char* name = "NotAnOptimizer";
  struct Options {};
};
static_assert(!Optimizer<NotAnOptimizer, Ref<double>>);

/// After three updates with new gradients each.
template <class O, class B>
struct Trained : OptimizerRun<O, B, Model> {
  explicit Trained(const typename O::Options& options, const typename B::Options& machine = {},
                   double gradient_factor = 1)
      : OptimizerRun<O, B, Model>(options, machine) {
    this->randomize(this->weights, 1);
    for (std::uint64_t step = 1; step <= 3; ++step) {
      this->randomize(this->gradient, 1 + step, typename B::Precision::Gradient(gradient_factor));
      this->update(0.01, 0.5 / gradient_factor);
    }
  }
};

/// Calls f(begin, end) for what lies between the ranges (offset, size) of the tensors, which are in ascending order.
template <class Tensors>
void each_gap(const Tensors& tensors, std::int64_t total, auto&& f) {
  std::int64_t at = 0;
  for (const auto& tensor : tensors) {
    REQUIRE(tensor.offset >= at);
    f(at, tensor.offset);
    at = tensor.offset + tensor.size();
  }
  REQUIRE(at <= total);
  f(at, total);
}

#define FATHOM_OPTIMIZERS Sgd, MomentumSgd, Adam, AdamW, Lion, Adafactor

TEMPLATE_TEST_CASE("an update on the CPU is the reference's", "[optim]", FATHOM_OPTIMIZERS) {
  const Trained<TestType, Ref<double>> expected({.weight_decay = 0.5});
  const Trained<TestType, Cpu<Double>> exact({.weight_decay = 0.5});
  const auto error = [](const auto& actual, const auto& right) {
    const auto values = values_of(actual);
    const auto right_values = values_of(right);
    return testing::compare(std::span(values), std::span(right_values), 1.0).error;
  };
  CHECK(error(exact.weights, expected.weights) < 1e-12);
  CHECK(error(exact.state, expected.state) < 1e-12);
  const Trained<TestType, Cpu<Single>> single({.weight_decay = 0.5});
  CHECK(error(single.weights, expected.weights) < 1e-4);
}

TEMPLATE_TEST_CASE("an update has equal bits for any number of threads", "[optim][threads]", FATHOM_OPTIMIZERS) {
  const Trained<TestType, Cpu<Single>> one({.weight_decay = 0.5}, {.threads = 1});
  for (const int threads : {2, 3, 5}) {
    const Trained<TestType, Cpu<Single>> several({.weight_decay = 0.5}, {.threads = threads});
    CHECK(equal_bits(several.weights, one.weights));
    CHECK(equal_bits(several.state, one.state));
  }
}

TEMPLATE_TEST_CASE("an update clears the gradient and keeps gaps at zero", "[optim]", FATHOM_OPTIMIZERS) {
  const Trained<TestType, Cpu<Single>> run({.weight_decay = 0.5});
  for (const float g : values_of(run.gradient)) REQUIRE(g == 0);
  const std::vector<float> weights = values_of(run.weights);
  auto tensors = run.table;
  std::ranges::sort(tensors, {}, &ParameterInfo::offset);
  std::int64_t gaps = 0;
  each_gap(tensors, run.weights.size(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) REQUIRE(weights[std::size_t(i)] == 0);
    gaps += end - begin;
  });
  CHECK(gaps > 0);
}

TEMPLATE_TEST_CASE("a state's description names all of it but its gaps", "[optim]", FATHOM_OPTIMIZERS) {
  const Trained<TestType, Cpu<Single>> run({});
  auto tensors = TestType::describe_state(run.extent, run.table);
  std::ranges::sort(tensors, {}, &StateTensor::offset);
  const std::vector<float> state = values_of(run.state);
  each_gap(tensors, run.state.size(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) REQUIRE(state[std::size_t(i)] == 0);
  });
  std::int64_t named = 0, zeros = 0;
  for (const StateTensor& tensor : tensors) {
    named += tensor.size();
    zeros += std::ranges::count(read_tensor(run.state, tensor), 0.0f);
  }
  CHECK(zeros <= named / 10'000);  // a sum of three gradients may happen to be zero
}

TEMPLATE_TEST_CASE("weight decay shrinks the decayed tensors and no others", "[optim]", FATHOM_OPTIMIZERS) {
  OptimizerRun<TestType, Cpu<Double>, Model> run({.weight_decay = 0.5});
  run.randomize(run.weights, 1);
  const std::vector<double> before = values_of(run.weights);
  run.update(0.01);  // with a gradient of zero
  const std::vector<double> after = values_of(run.weights);
  // Adam turns a decay that is added to the gradient into a step of full length.
  const bool normalizes = std::is_same_v<TestType, Adam>;
  for (const ParameterInfo& info : run.table)
    for (std::int64_t i = info.offset; i < info.offset + info.size(); ++i) {
      const double w = before[std::size_t(i)], shrunk = normalizes ? w - 0.01 * w / std::abs(w) : w * (1 - 0.01 * 0.5);
      REQUIRE(std::abs(after[std::size_t(i)] - (decays(info.role) ? shrunk : w)) < (normalizes ? 1e-4 : 1e-15));
    }
}

TEMPLATE_TEST_CASE("the gradient's scale is applied to the gradient", "[optim]", FATHOM_OPTIMIZERS) {
  const Trained<TestType, Cpu<Single>> plain({.weight_decay = 0.5});
  const Trained<TestType, Cpu<Single>> scaled({.weight_decay = 0.5}, {}, 8);
  CHECK(equal_bits(scaled.weights, plain.weights));
}

TEST_CASE("Adafactor leaves rows without a gradient alone", "[optim]") {
  OptimizerRun<Adafactor, Cpu<Single>, Model> run({});
  run.randomize(run.weights, 1);
  const std::vector<float> before = values_of(run.weights);
  const ParameterInfo& info = run.table.front();
  for (int step = 0; step < 3; ++step) {
    run.gradient.upload(info.offset, std::vector(std::size_t(info.columns), 0.5f));  // in one row
    run.update(0.1);
  }
  const std::vector<float> after = values_of(run.weights);
  for (std::int64_t i = 0; i < run.weights.size(); ++i) {
    const bool moves = i >= info.offset && i < info.offset + info.columns;
    REQUIRE((after[std::size_t(i)] != before[std::size_t(i)]) == moves);
  }
}

TEST_CASE("states of elementwise optimizers are named after the parameters", "[optim]") {
  const std::vector<ParameterInfo> table = describe<Model>();
  const auto tensors = AdamW::describe_state(parameter_extent<Model>(), table);
  REQUIRE(tensors.size() == 2 * table.size());
  const ParameterInfo& parameter = table[3];
  CHECK(tensors[3].name == "first." + parameter.name);
  CHECK(tensors[3].offset == parameter.offset);
  const StateTensor& second = tensors[table.size() + 3];
  CHECK(second.name == "second." + parameter.name);
  CHECK(second.offset == parameter_extent<Model>().total() + parameter.offset);
  CHECK((second.rows == parameter.rows && second.columns == parameter.columns));
}

}  // namespace optimizer_test
