// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/backend/backends.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/random.hpp>
#include <span>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// Initial values of every tensor, from the seed and the tensor's name alone: the same whatever the precision, the
/// order or the rest of the model. Xavier's normal distribution is taken per matrix, never on a fused one (Glorot and
/// Bengio 2010): std = gain · sqrt(2 / (fan_in + fan_out)). Overwrites every element but the alignment gaps.
template <class T>
void initialize(std::span<T> flat, const std::vector<ParameterInfo>& table, std::uint64_t seed) {
  for (const ParameterInfo& info : table) {
    T* data = flat.data() + info.offset;
    if (info.init.kind == Init::Kind::triangle) {
      for (std::int64_t row = 1, at = 0; at < info.size(); at += row++)
        std::fill_n(data + at, row, T(1.0 / double(row)));
      continue;
    }
    double deviation = 0, constant = 0;
    if (info.init.kind == Init::Kind::constant) constant = info.init.value;
    if (info.init.kind == Init::Kind::normal) deviation = info.gain * info.init.value;
    if (info.init.kind == Init::Kind::xavier) deviation = info.gain * std::sqrt(2.0 / (info.rows + info.columns));
    const Philox random(Key{seed}.child("weights").child(info.name));
    for (std::int64_t i = 0; i < info.size(); i += 2) {
      const auto pair = deviation == 0 ? std::array<double, 2>{} : normals(random(std::uint64_t(i / 2)));
      data[i] = T(constant + deviation * pair[0]);
      if (i + 1 < info.size()) data[i + 1] = T(constant + deviation * pair[1]);
    }
  }
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
  static constexpr Extent extent = parameter_extent<Model>();

  /// All zero.
  Weights() : data_(extent.total()) {}
  /// Initialized from a seed.
  explicit Weights(std::uint64_t seed) : Weights() { initialize(data_.span(), describe<Model>(), seed); }

  typename Model::template Params<const T> params() const { return bind_parameters<Model>(data_.data()); }

  /// The flat buffer: `extent.decayed` elements that weight decay shrinks, then `extent.plain` that it spares.
  std::span<T> flat() { return data_.span(); }
  std::span<const T> flat() const { return data_.span(); }
  /// One tensor's elements, row by row.
  std::span<T> tensor(const ParameterInfo& info) {
    return flat().subspan(std::size_t(info.offset), std::size_t(info.size()));
  }
  std::span<const T> tensor(const ParameterInfo& info) const {
    return flat().subspan(std::size_t(info.offset), std::size_t(info.size()));
  }

 private:
  Buffer<T> data_;
};

}  // namespace fathom::inline FATHOM_ABI
