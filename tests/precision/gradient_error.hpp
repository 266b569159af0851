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
#include <vector>

/// What roundings to 16 bits do to gradients: measured, and what they may do.
namespace fathom_test {
using namespace fathom;

/// A float that every conversion throws off at random, evenly, by at most half a unit in the last place of a Bf16: as far
/// as rounding does, but not in the same direction. The same float is thrown off alike until `seed` changes. Numbers that
/// a Bf16 holds stay.
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

/// Sequences in which the next token follows from the one before it, but for one in eight, which is any.
template <int Vocabulary>
struct FollowingTokens {
  PackedRows rows;
  std::vector<int> tokens, targets;

  FollowingTokens(std::uint64_t seed, int sequences, int length) : rows(PackedRows::uniform(sequences, length)) {
    const Philox random(Key{seed}.child("tokens"));
    std::uint64_t drawn = 0;
    for (int s = 0; s < sequences; ++s) {
      int token = int(below(Vocabulary, low_bits(random(drawn++))));
      for (int i = 0; i < length; ++i) {
        tokens.push_back(token);
        const auto bits = random(drawn++);
        token = bits[0] % 8 == 0 ? int(below(Vocabulary, high_bits(bits))) : (5 * token + 3) % Vocabulary;
        targets.push_back(token);
      }
    }
  }
  operator TokenBatch() const { return {rows, tokens, targets}; }
};

/// Forward and backward of a model on Ref<P>, from weights that are rounded from masters.
template <class Model, class P>
class GradientRun {
 public:
  using Gradient = typename ref::AsPrecision<P>::type::Gradient;

  explicit GradientRun(const Capacity& capacity)
      : weights_(parameter_extent<Model>().total()),
        gradients_(weights_.size()),
        saved_(saved_bytes<Model, Precision>(capacity)),
        capacity_(capacity) {
    context_.reserve(training_cost<Model, Ref<P>>(capacity, {}).size);
  }

  /// The mean loss of a target; overwrites `gradients`.
  double operator()(std::span<const double> masters, const TokenBatch& batch) {
    for (std::int64_t i = 0; i < weights_.size(); ++i) weights_.data()[i] = Weight(masters[std::size_t(i)]);
    gradients_.zero();
    LossSums sums;
    context_.run(batch.packing, Pass{}, [&](auto& worker) {
      Arena arena = arena_of(saved_);
      auto saved = Model::template Saved<Precision>::take(arena, capacity_);
      const auto p = bind_parameters<Model, const Weight>(weights_.data());
      const double weight = 1 / double(batch.targets.size());
      Model::forward(worker, p, Flow<Precision>{}, batch, saved);
      Model::backward(worker, p, bind_parameters<Model>(gradients_.data()), Flow<Precision>{}, batch, saved, {}, weight);
      sums = worker.read(&Slots::loss);
    });
    return sums.mean();
  }
  std::span<const Gradient> gradients() const { return gradients_.span(); }

 private:
  using Precision = typename Ref<P>::Precision;
  using Weight = typename Precision::Weight;

  Buffer<Weight> weights_;
  Buffer<Gradient> gradients_;
  Buffer<std::byte> saved_;
  Capacity capacity_;
  Context<Ref<P>> context_;
};

/// Euclidean distance of a tensor's gradients.
template <class A, class B>
double distance(std::span<const A> a, std::span<const B> b, const ParameterInfo& info) {
  double sum = 0;
  for (auto i = std::size_t(info.offset); i < std::size_t(info.offset + info.size()); ++i)
    sum += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
  return std::sqrt(sum);
}

}  // namespace fathom_test
