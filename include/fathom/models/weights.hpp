// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/backend/backends.hpp>
#include <fathom/backend/context.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/parameters.hpp>
#include <span>

namespace fathom::inline FATHOM_ABI {

/// Initial values of every tensor, from the seed and the tensor's name alone: the same whatever the precision, the
/// order or the rest of the model. Xavier's normal distribution is taken per matrix, never on a fused one (Glorot and
/// Bengio 2010): std = gain · sqrt(2 / (fan_in + fan_out)). Overwrites every element but the alignment gaps.
template <class B>
void initialize(Context<B>& context, Elements<typename B::Precision::Master> flat, std::span<const ParameterInfo> table,
                std::uint64_t seed) {
  using T = typename B::Precision::Master;
  context.run(Packing{}, Pass{}, [&](auto& worker) {
    for (const ParameterInfo& info : table) {
      const Elements<T> tensor = flat.part(info.offset, std::size_t(info.size()));
      const auto fill = [&](Elements<T> x, double center, double deviation) {
        worker(op::Initialize<typename B::Precision>{.x = x,
                                                     .center = center,
                                                     .deviation = deviation,
                                                     .key = Key{seed}.child("weights").child(info.name)});
      };
      switch (info.init.kind) {
        case Init::Kind::zeros:
          fill(tensor, 0, 0);
          break;
        case Init::Kind::constant:
          fill(tensor, info.gain * info.init.value, 0);
          break;
        case Init::Kind::normal:
          fill(tensor, 0, info.gain * info.init.value);
          break;
        case Init::Kind::xavier:
          fill(tensor, 0, info.gain * std::sqrt(2.0 / (info.rows + info.columns)));
          break;
        case Init::Kind::triangle:
          for (std::int64_t row = 1, at = 0; at < info.size(); at += row++)
            fill(tensor.part(at, std::size_t(row)), 1.0 / double(row), 0);
      }
    }
  });
}

/// Overwrites weights with their masters, rounded.
template <class B>
void round_masters(Context<B>& context, Elements<const typename B::Precision::Master> masters,
                   Elements<typename B::Precision::Weight> weights) {
  context.run(Packing{}, Pass{},
              [&](auto& worker) { worker(op::Round<typename B::Precision>{.x = masters, .y = weights}); });
}

/// Whether none of the values is infinite or NaN.
template <class T>
bool all_finite(std::span<const T> values) {
  return std::ranges::all_of(values, [](T value) { return std::isfinite(value); });
}

/// A model's parameters alone: all that inference needs. Constant weights are shared between threads freely.
template <class Model, class B>
class Weights {
  static_assert(CheckBackend<B>::value);

 public:
  using Precision = typename B::Precision;
  using T = typename Precision::Weight;
  using Memory = typename B::template Buffer<T>;
  static constexpr Extent extent = parameter_extent<Model>();

  /// All zero.
  Weights() : flat_(extent.total()) {}
  /// Initialized from a seed.
  explicit Weights(std::uint64_t seed) : Weights() {
    Context<B> context(B::one_lane());
    if constexpr (updates_weights<Precision>) {
      initialize(context, flat_, describe<Model>(), seed);
    } else {
      typename B::template Buffer<typename Precision::Master> masters(extent.total());
      initialize(context, masters, describe<Model>(), seed);
      round_masters(context, masters, flat_);
    }
  }

  typename Model::template Params<const T> params() const { return bind_parameters<Model>(flat_.data()); }

  /// The flat buffer, in memory of the machine: `extent.decayed` elements that weight decay shrinks, then
  /// `extent.plain` that it spares. `read_tensor(weights.flat(), info)` gives the values of one tensor, and
  /// `write_tensor(weights.flat(), info, values)` sets them.
  Memory& flat() { return flat_; }
  const Memory& flat() const { return flat_; }

 private:
  Memory flat_;
};

}  // namespace fathom::inline FATHOM_ABI
