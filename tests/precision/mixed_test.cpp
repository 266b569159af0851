// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

#include "precision/gradient_error.hpp"

namespace mixed_test {

/// Mixed precision on deep models: what it does to gradients, and to training.
using namespace fathom_test;

constexpr int vocabulary = 31, length = 16;

template <int Depth>
using Model = LanguageModel<Vocabulary<vocabulary>, ContextLength<length>, deepnet::DecoderOnly<Depth, 16, 2, 32>>;

/// Masters that are floats, for all precisions alike.
template <class M>
std::vector<double> masters() {
  const Weights<M, Ref<float>> initial(1);
  const std::vector<float> flat = values_of(initial.flat());
  return {flat.begin(), flat.end()};
}

/// Errors of gradients by tensor, from those of Ref<double>.
template <int Depth>
class Errors {
 public:
  using M = Model<Depth>;

  Errors() : exact_(capacity) { exact_(masters_, tokens_); }

  template <class P>
  std::vector<double> of() const {
    GradientRun<M, P> run(capacity);
    run(masters_, tokens_);
    std::vector<double> errors;
    for (const ParameterInfo& info : table_) errors.push_back(distance(run.gradients(), exact_.gradients(), info));
    return errors;
  }

  /// The root of the mean square of what random roundings do: the bound.
  template <class P>
  std::vector<double> bound() const {
    constexpr int samples = 8;
    std::vector<double> squares(table_.size());
    for (Loose::seed = 1; Loose::seed <= samples; ++Loose::seed) {
      const std::vector<double> errors = of<P>();
      for (std::size_t i = 0; i < squares.size(); ++i) squares[i] += errors[i] * errors[i] / samples;
    }
    for (double& square : squares) square = std::sqrt(square);
    return squares;
  }

  /// Of all gradients together, by their norm.
  double relative(const std::vector<double>& errors) const {
    double sum = 0, norm = 0;
    for (const double error : errors) sum += error * error;
    for (const double gradient : exact_.gradients()) norm += gradient * gradient;
    return std::sqrt(sum / norm);
  }
  const std::string& name(std::size_t tensor) const { return table_[tensor].name; }

 private:
  static constexpr int sequences = 8;
  static constexpr Capacity capacity{sequences * length, sequences, length};

  const std::vector<ParameterInfo> table_ = describe<M>();
  const std::vector<double> masters_ = masters<M>();
  const FollowingTokens<vocabulary> tokens_{1, sequences, length};
  GradientRun<M, double> exact_;
};

/// What a precision of Bf16 does against what the same of `Loose` may do. Prints a line.
template <int Depth, class P, class LooseP>
void check_gradients(const char* name, const Errors<Depth>& errors) {
  const std::vector<double> measured = errors.template of<P>(), bound = errors.template bound<LooseP>();
  std::size_t worst = 0;
  for (std::size_t i = 0; i < bound.size(); ++i)
    if (measured[i] * bound[worst] > measured[worst] * bound[i]) worst = i;
  const double ratio = errors.relative(measured) / errors.relative(bound);
  const std::vector<double> summed = errors.template of<SumsOf16Bits<P>>();
  const double broken = errors.relative(summed) / errors.relative(bound);
  double broken_worst = 0;
  for (std::size_t i = 0; i < bound.size(); ++i) broken_worst = std::max(broken_worst, summed[i] / bound[i]);
  std::printf(
      "%3d layers, %s: relative error of the gradients %.5f, bound %.5f, ratio %.2f (of a tensor %.2f, %s); with sums of "
      "16 bits %.2f (%.2f)\n",
      Depth, name, errors.relative(measured), errors.relative(bound), ratio, measured[worst] / bound[worst],
      errors.name(worst).c_str(), broken, broken_worst);
  CHECK(ratio < 2);
  CHECK(ratio > 0.5);  // the bound is not too large to tell anything
  CHECK(measured[worst] / bound[worst] < 4);
  CHECK(broken_worst > 4);
  if (std::is_same_v<typename P::Stream, float>) CHECK(broken > 4);
}

TEMPLATE_TEST_CASE_SIG("mixed: gradients of deep models are as far off as their roundings", "[mixed]",
                       ((int Depth), Depth), 6, 100) {
  const Errors<Depth> errors;
  check_gradients<Depth, Mixed, MixedOf<Loose>>("stream of floats ", errors);
  check_gradients<Depth, MixedOf<Bf16, Bf16>, MixedOf<Loose, Loose>>("stream of 16 bits", errors);
}

}  // namespace mixed_test
