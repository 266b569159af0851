// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/lion.hpp>
#include <fathom/optim/sgd.hpp>
#include <fathom/testing/compare.hpp>
#include <type_traits>

#include "optimizer_run.hpp"
#include "support/reference.hpp"

namespace pytorch_test {

using namespace fathom_test;

/// The parameters of tests/reference/optimizer_*.safetensors.
struct ReferenceModel {
  template <class T>
  struct Params {
    WeightMatrix<T, 3, 5> matrix;
    WeightMatrix<T, 6, 2> tall;
    Vector<T, 7> vector;

    constexpr void each(auto& visitor) {
      visitor.tensor("vector", vector, Role::bias, init::zeros);
      visitor.tensor("matrix", matrix, Role::linear, init::zeros);
      visitor.tensor("tall", tall, Role::linear, init::zeros);
    }
  };
};

template <class T>
std::vector<T> rounded(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

/// Requires that every step of `O` leaves the weights that PyTorch has.
template <class O, class B>
void require_reference(const std::string& file, const typename O::Options& options, double tolerance) {
  const Reference reference("optimizer_" + file);
  using T = typename B::Precision::Master;
  OptimizerRun<O, B, ReferenceModel> run(options);
  for (const ParameterInfo& info : run.table)
    write_tensor(run.weights, info, rounded<T>(reference.values("parameter." + info.name)));
  const std::vector<double> rates = reference.values("input.learning_rate");
  for (std::size_t step = 0; step < rates.size(); ++step) {
    const auto of_step = [&](const std::string& name, const ParameterInfo& info) {
      const std::vector<double> values = reference.values(name + info.name);
      const auto begin = values.begin() + std::ptrdiff_t(step) * info.size();
      return std::vector<double>(begin, begin + info.size());
    };
    for (const ParameterInfo& info : run.table)
      write_tensor(run.gradient, info, rounded<T>(of_step("input.gradient.", info)));
    run.update(rates[step]);
    for (const ParameterInfo& info : run.table) {
      const std::vector<double> expected = of_step("output.", info);
      const std::vector<T> actual = read_tensor(run.weights, info);
      const auto worst = testing::compare(std::span(actual), std::span(expected), 1.0);
      INFO(info.name << '[' << worst.column << "] in step " << step + 1 << ": " << worst.actual << ", expected "
                     << worst.expected);
      REQUIRE(worst.error <= tolerance);
    }
  }
}

TEMPLATE_TEST_CASE("every optimizer follows its definition in PyTorch", "[optim]", Ref<double>, Cpu<Double>,
                   Cpu<Single>) {
  using B = TestType;
  const double tolerance = std::is_same_v<B, Cpu<Single>> ? 1e-5 : 1e-12;
  require_reference<Sgd, B>("sgd", {}, tolerance);
  require_reference<MomentumSgd, B>("sgd_momentum", {.momentum = 0.9}, tolerance);
  require_reference<MomentumSgd, B>("sgd_nesterov", {.momentum = 0.9, .nesterov = true}, tolerance);
  require_reference<Adam, B>("adam", {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}, tolerance);
  require_reference<AdamW, B>("adamw", {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .weight_decay = 0.1}, tolerance);
  require_reference<Lion, B>("lion", {.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1}, tolerance);
  require_reference<Adafactor, B>("adafactor", {.weight_decay = 0.1}, tolerance);
}

}  // namespace pytorch_test
