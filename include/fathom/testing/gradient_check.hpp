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

    compare("x", run_.x, 0, run_.x.size(), alone.x, skipped.x);
    compare("memory", run_.memory, 0, run_.memory.size(), alone.memory, skipped.memory);
    for (const ParameterInfo& info : describe<L>())
      compare(info.name, run_.parameters, info.offset, info.size(), alone.parameters, skipped.parameters);
    return report_;
  }

 private:
  using Values = std::vector<double>;
  using Memory = typename B::template Buffer<double>;
  struct Gradients {
    Values parameters, x, memory;
  };
  static constexpr double skip_scale = 0.75;

  /// a − b, which is what a pass added to b.
  static Values minus(const Memory& a, const Values& b, double scale = 1) {
    Values difference = values_of(a);
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= scale * b[i];
    return difference;
  }

  /// What backward adds to gradients that start at random values, and dx without the skip.
  Gradients backward(const Skip<Double>& skip) {
    run_.fill_normal(run_.gradients, Key{options_.seed}.child("start"));
    run_.fill_normal(run_.memory_gradient, Key{options_.seed}.child("start of memory"));
    const Values start = values_of(run_.gradients), memory_start = values_of(run_.memory_gradient);
    const std::vector<std::byte> saved = run_.saved();
    run_.fill(run_.dx, std::numeric_limits<double>::quiet_NaN());
    run_.poison_workspace();

    run_.backward(skip);

    if (saved != run_.saved()) report_.add_broken_rule("backward changed saved values");
    Gradients g{minus(run_.gradients, start), minus(run_.dx, values_of(skip_), skip.value ? skip.scale : 0),
                minus(run_.memory_gradient, memory_start)};
    Values gaps = g.parameters;
    for (const ParameterInfo& info : describe<L>()) std::fill_n(gaps.begin() + info.offset, info.size(), 0.0);
    if (std::ranges::any_of(gaps, [](double value) { return value != 0; }))
      report_.add_broken_rule("backward wrote between the gradients of parameters");
    return g;
  }

  /// d<dy, y> / d(element `at` of `values`), by the central difference of fourth order.
  double slope(Memory& values, std::int64_t at) {
    double center;
    values.download(at, {&center, 1});
    const auto output_at = [&](int steps) {
      const double moved = center + steps * options_.step;
      values.upload(at, {&moved, 1});
      run_.forward();
      return values_of(run_.y);
    };
    const Values left2 = output_at(-2), left = output_at(-1), right = output_at(1), right2 = output_at(2);
    values.upload(at, {&center, 1});
    const Values dy = values_of(run_.dy);
    double sum = 0;
    for (std::size_t i = 0; i < left.size(); ++i)
      sum += dy[i] * (8 * (right[i] - left[i]) - (right2[i] - left2[i]));
    return sum / (12 * options_.step);
  }

  /// The tensor of `size` elements from `first` on.
  void compare(const std::string& name, Memory& values, std::int64_t first, std::int64_t size, const Values& alone,
               const Values& skipped) {
    const Permutation entries(Key{options_.seed}.child(name), std::uint64_t(size));
    for (std::int64_t i = 0; i < std::min(size, std::int64_t(options_.samples)); ++i) {
      const auto entry = std::int64_t(entries(std::uint64_t(i)));
      const auto at = std::size_t(first + entry);
      const double expected = slope(values, first + entry);
      report_.add(name, entry, alone[at], expected, options_.floor);
      report_.add(name + " with a skip", entry, skipped[at], expected, options_.floor);
    }
  }

  GradientCheckOptions options_;
  LayerRun<L, B> run_;
  Memory skip_;
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
