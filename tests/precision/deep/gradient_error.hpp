// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <fathom/backend/context.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/half.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/random.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/weights.hpp>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// What roundings to 16 bits do to gradients: measured, and what they may do.
namespace fathom_test {
using namespace fathom;

/// A float that every conversion throws off at random, evenly, by at most half a unit in the last place of a Bf16: as
/// far as rounding does, but not in the same direction. The same float is thrown off alike until `seed` changes.
/// Numbers that a Bf16 holds stay.
struct Loose {
  static inline std::uint64_t seed = 1;
  float value = 0;

  Loose() = default;
  explicit Loose(float exact) : value(thrown_off(exact)) {}
  explicit Loose(double exact) : Loose(float(exact)) {}
  explicit Loose(int exact) : Loose(float(exact)) {}
  operator float() const { return value; }

 private:
  static float thrown_off(float exact) {
    if (!std::isfinite(exact) || Bf16(exact) == exact) return exact;
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(exact), exponent = bits & 0x7F80'0000u;
    const float unit = std::bit_cast<float>(exponent) * 0x1p-7f;
    return exact + unit * float(uniform(Philox(Key{seed})(bits & 0x7FFF'FFFFu)[0]) - 0.5) * (bits >> 31 ? -1.0f : 1.0f);
  }
};

/// Mixed precision that sums in 16 bits, as no backend may.
template <class P>
struct SumsOf16Bits : P {
  using Sum = Bf16;
};

/// Forward and backward of a model on a backend, from weights that are rounded from masters.
template <class Model, class B>
class GradientRun {
 public:
  using Capacity = typename Model::Capacity;

  explicit GradientRun(const Capacity& capacity, const typename B::Options& machine = {})
      : weights_(parameter_extent<Model>().total()),
        gradients_(weights_.size()),
        capacity_(saving(capacity, saves_all<B>)),
        saved_(saved_bytes<Model, P>(capacity_)),
        context_(machine) {
    context_.reserve(training_cost<Model, B>(capacity_, {}).size);
  }

  /// The mean loss of a target; overwrites `gradients`.
  double operator()(std::span<const double> masters, const typename Model::Batch& batch) {
    weights_.upload(0, std::vector<Weight>(masters.begin(), masters.end()));
    gradients_.zero();
    LossSums sums;
    context_.run(batch.output_packing(), Pass{}, [&](auto& worker) {
      Arena arena = arena_of(saved_);
      auto saved = Model::template Saved<P>::take(arena, capacity_);
      const auto p = bind_parameters<Model, const Weight>(weights_.data());
      const double weight = 1 / double(batch.target_count());
      Model::forward(worker, p, Flow<P>{}, batch, saved);
      Model::backward(worker, p, bind_parameters<Model>(gradients_.data()), Flow<P>{}, batch, saved, {}, weight);
      const LossSums loss = worker.read(&Slots::loss);
      if (worker.first()) sums = loss;
    });
    return sums.mean();
  }
  std::vector<double> gradients() const {
    const auto values = values_of(gradients_);
    return {values.begin(), values.end()};
  }

 private:
  using P = typename B::Precision;
  using Weight = typename P::Weight;

  typename B::template Buffer<Weight> weights_;
  typename B::template Buffer<typename P::Gradient> gradients_;
  Capacity capacity_;
  typename B::template Buffer<std::byte> saved_;
  Context<B> context_;
};

/// Errors of a model's gradients, a number for each tensor: the Euclidean distance from those of Ref<double>.
template <class Model>
class GradientErrors {
 public:
  using Capacity = typename Model::Capacity;
  using Batch = typename Model::Batch;

  /// The batch is viewed.
  GradientErrors(const Capacity& capacity, const Batch& batch, std::vector<double> masters)
      : capacity_(capacity), batch_(batch), masters_(std::move(masters)), exact_(gradients_of<Ref<double>>({})) {}

  template <class B>
  std::vector<double> of(const typename B::Options& machine = {}) const {
    const std::vector<double> gradients = gradients_of<B>(machine);
    std::vector<double> errors;
    for (const ParameterInfo& info : table_) {
      double sum = 0;
      for (auto i = std::size_t(info.offset); i < std::size_t(info.offset + info.size()); ++i)
        sum += (gradients[i] - exact_[i]) * (gradients[i] - exact_[i]);
      errors.push_back(std::sqrt(sum));
    }
    return errors;
  }

  /// The root of the mean square of what random roundings do: the bound. P is a precision of `Loose`.
  template <class P>
  std::vector<double> bound() const {
    constexpr int samples = 8;
    std::vector<double> squares(table_.size());
    for (Loose::seed = 1; Loose::seed <= samples; ++Loose::seed) {
      const std::vector<double> errors = of<Ref<P>>();
      for (std::size_t i = 0; i < squares.size(); ++i) squares[i] += errors[i] * errors[i] / samples;
    }
    for (double& square : squares) square = std::sqrt(square);
    return squares;
  }

  /// Of all gradients together, by their norm.
  double relative(const std::vector<double>& errors) const {
    double sum = 0, norm = 0;
    for (const double error : errors) sum += error * error;
    for (const double gradient : exact_) norm += gradient * gradient;
    return std::sqrt(sum / norm);
  }

  /// The tensor whose error is the largest multiple of its bound.
  struct Worst {
    double ratio = 0;
    std::string name;
  };
  Worst worst(const std::vector<double>& errors, const std::vector<double>& bound) const {
    Worst worst;
    for (std::size_t i = 0; i < bound.size(); ++i)
      if (const double ratio = errors[i] / bound[i]; errors[i] > 0 && !(ratio <= worst.ratio))
        worst = {ratio, table_[i].name};
    return worst;
  }

 private:
  template <class B>
  std::vector<double> gradients_of(const typename B::Options& machine) const {
    GradientRun<Model, B> run(capacity_, machine);
    run(masters_, batch_);
    return run.gradients();
  }

  const std::vector<ParameterInfo> table_ = describe<Model>();
  Capacity capacity_;
  Batch batch_;
  std::vector<double> masters_;
  std::vector<double> exact_;
};

/// Masters that are floats, for all precisions alike: a model's initial weights. `spread` is what vectors are moved by,
/// in deviations of a normal distribution, so that scalars and branches that begin at zero count.
template <class Model>
std::vector<double> some_masters(double spread = 0) {
  const Weights<Model, Ref<float>> initial(1);
  const std::vector<float> flat = values_of(initial.flat());
  std::vector<double> masters(flat.begin(), flat.end());
  if (spread > 0)
    for (const ParameterInfo& info : describe<Model>())
      for (std::int64_t i = info.offset; info.is_vector() && i < info.offset + info.size(); ++i)
        masters[std::size_t(i)] =
            float(masters[std::size_t(i)] + spread * normals(Philox(Key{7})(std::uint64_t(i)))[0]);
  return masters;
}

}  // namespace fathom_test
