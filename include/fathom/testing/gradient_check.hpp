// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/testing/layer_run.hpp>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI::testing {

struct GradientCheckOptions {
  LayerRows batch = {};
  DropoutRates dropout = {};  ///< the masks are the same in all evaluations
  double step = 0x1p-12;      ///< between neighbouring points of the differences
  double floor = 1e-4;        ///< gradients below it are compared absolutely, see `relative_error`
  int samples = 40;           ///< entries of a tensor that are compared; of a smaller one all
  std::uint64_t seed = 1;     ///< of inputs, parameters, upstream gradients and the choice of entries
};

/// The worst of all entries that `check_gradients` compared.
struct GradientReport {
  double error = 0;           ///< its `relative_error`; infinite when a rule of layers is broken
  std::string tensor;         ///< such as blocks.0.attention.query.weight, x or memory; or the rule
  std::int64_t entry = 0;     ///< in the tensor
  double actual = 0;          ///< by backward
  double expected = 0;        ///< by central differences
  std::int64_t compared = 0;  ///< entries

  void add(const std::string& name, std::int64_t at, double by_backward, double by_differences, double floor) {
    ++compared;
    const double error_here = relative_error(by_backward, by_differences, floor);
    if (error_here > error)
      error = error_here, tensor = name, entry = at, actual = by_backward, expected = by_differences;
  }
  void add_broken_rule(const std::string& rule) { error = std::numeric_limits<double>::infinity(), tensor = rule; }

  std::string text() const {
    std::ostringstream out;
    out << tensor << '[' << entry << "]: " << actual << " by backward, " << expected
        << " by central differences, relative error " << error << " (worst of " << compared << ')';
    return out.str();
  }
};

/// The work behind `check_gradients`.
template <Layer L, Backend B>
class GradientCheck {
  static_assert(std::same_as<typename B::Precision, Double>, "check_gradients: differences need a backend in double");

 public:
  GradientCheck(const GradientCheckOptions& options, const typename B::Options& machine)
      : options_(options), run_(options.batch, machine), skip_(run_.x.size()) {
    run_.pass = {Key{options.seed}, options.dropout};
    run_.randomize(options.seed);
    run_.fill_normal(skip_, Key{options.seed}.child("skip"));
  }

  GradientReport operator()() {
    run_.poison();
    run_.forward();
    const Gradients alone = backward({});
    const Gradients skipped = backward({{skip_.data(), int(run_.rows()), L::input_width}, skip_scale});

    compare("x", run_.x.span(), alone.x.data(), skipped.x.data());
    compare("memory", run_.memory.span(), alone.memory.data(), skipped.memory.data());
    for (const ParameterInfo& info : describe<L>())
      compare(info.name, run_.parameters.span().subspan(std::size_t(info.offset), std::size_t(info.size())),
              alone.parameters.data() + info.offset, skipped.parameters.data() + info.offset);
    return report_;
  }

 private:
  using Values = std::vector<double>;
  struct Gradients {
    Values parameters, x, memory;
  };
  static constexpr double skip_scale = 0.75;

  /// a − b, which is what a pass added to b.
  static Values minus(const Buffer<double>& a, const Values& b, double scale = 1) {
    Values difference(a.span().begin(), a.span().end());
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= scale * b[i];
    return difference;
  }
  static Values copy(const auto& values) { return {values.span().begin(), values.span().end()}; }

  /// What backward adds to gradients that start at random values, and dx without the skip.
  Gradients backward(const Skip<Double>& skip) {
    run_.fill_normal(run_.gradients, Key{options_.seed}.child("start"));
    run_.fill_normal(run_.memory_gradient, Key{options_.seed}.child("start of memory"));
    const Values start = copy(run_.gradients), memory_start = copy(run_.memory_gradient);
    const std::vector<std::byte> saved(run_.saved().begin(), run_.saved().end());
    std::ranges::fill(run_.dx.span(), std::numeric_limits<double>::quiet_NaN());
    run_.poison_workspace();

    run_.backward(skip);

    if (!std::ranges::equal(saved, run_.saved())) report_.add_broken_rule("backward changed saved values");
    Gradients g{minus(run_.gradients, start), minus(run_.dx, copy(skip_), skip.value ? skip.scale : 0),
                minus(run_.memory_gradient, memory_start)};
    Values gaps = g.parameters;
    for (const ParameterInfo& info : describe<L>()) std::fill_n(gaps.begin() + info.offset, info.size(), 0.0);
    if (std::ranges::any_of(gaps, [](double value) { return value != 0; }))
      report_.add_broken_rule("backward wrote between the gradients of parameters");
    return g;
  }

  /// d<dy, y> / d`value`, by the central difference of fourth order.
  double slope(double& value) {
    const double center = value;
    const auto output_at = [&](int steps) {
      value = center + steps * options_.step;
      run_.forward();
      return copy(run_.y);
    };
    const Values left2 = output_at(-2), left = output_at(-1), right = output_at(1), right2 = output_at(2);
    value = center;
    double sum = 0;
    for (std::size_t i = 0; i < left.size(); ++i)
      sum += run_.dy.data()[i] * (8 * (right[i] - left[i]) - (right2[i] - left2[i]));
    return sum / (12 * options_.step);
  }

  void compare(const std::string& name, std::span<double> values, const double* alone, const double* skipped) {
    const Permutation entries(Key{options_.seed}.child(name), values.size());
    for (std::size_t i = 0; i < std::min(values.size(), std::size_t(options_.samples)); ++i) {
      const std::uint64_t entry = entries(i);
      const double expected = slope(values[entry]);
      report_.add(name, std::int64_t(entry), alone[entry], expected, options_.floor);
      report_.add(name + " with a skip", std::int64_t(entry), skipped[entry], expected, options_.floor);
    }
  }

  GradientCheckOptions options_;
  LayerRun<L, B> run_;
  Buffer<double> skip_;
  GradientReport report_;
};

/// Compares a layer's backward with central differences of <dy, forward(x)> for a random dy, at random parameters: the
/// gradients of x, of every parameter and of the side input, once without and once with a skip.
///
///   const auto report = testing::check_gradients<MyLayer>();
///   REQUIRE(report.error <= 1e-6);
///
/// It also holds the layer to its contract: outputs, saved values and workspace start as NaN and must be overwritten;
/// gradients of parameters and of the side input start at random values and must be added to; saved values and the gaps
/// between parameters must stay. The batch is packed from sequences of several lengths and smaller than its capacity.
///
/// Functions with kinks (ReLU) want a smaller `step`; a smaller step wants a larger `floor`, because rounding leaves an
/// absolute error of about 1e-16 / step in the differences.
template <Layer L, Backend B = Ref<double>>
GradientReport check_gradients(const GradientCheckOptions& options = {}, const typename B::Options& machine = {}) {
  return GradientCheck<L, B>(options, machine)();
}

}  // namespace fathom::inline FATHOM_ABI::testing
