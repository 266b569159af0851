// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fathom/backend/cpu/config.hpp>
#include <fathom/backend/cpu/lane.hpp>
#include <fathom/backend/cpu/shuffle.hpp>
#include <fathom/backend/cpu/sweep.hpp>
#include <fathom/backend/cpu/update.hpp>

/// Adafactor on one tensor, by one lane alone or by all lanes together, with the same bits. The formula stands at
/// `op::AdafactorUpdate`; a vector is a matrix of one row whose row factors are one.
namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI {

struct AdafactorStep {
  double rate, relative_rate;  ///< learning rate, and what it is limited to
  double decay, beta, epsilon1, epsilon2, clip_threshold;
  double gradient_scale = 1;
};

/// A matrix (rows, columns) with its second moments by row and by column; row null: a vector.
template <class T>
struct FactoredTensor {
  int rows, columns;
  T *weight, *gradient;
  T *row, *column;
};

/// Sums over a tensor are cut into this many runs of rows, whoever takes them.
inline constexpr int adafactor_shards = 64;

/// Partial sums of one tensor, a number a shard.
struct AdafactorSums {
  double weight[adafactor_shards], update[adafactor_shards];  ///< squares

  static double root_mean(const double* squares, double count) {
    double sum = 0;
    for (int shard = 0; shard < adafactor_shards; ++shard) sum += squares[shard];
    return std::sqrt(sum / count);
  }
};

/// Σ a² / b over n numbers.
template <class T>
double sum_of_ratios(std::size_t n, const T* a, const T* b) {
  Simd<T> sum{};
  sweep<T>(n, [&](auto place) {
    const Simd<T> v = place.load(a);
    sum += v * v / place.select(place.load(b), T(1));
  });
  return double(horizontal_sum(sum));
}

/// Lane `number` of the `parts` that share the tensor; `barrier()` waits for all of them, `sums` is theirs together.
/// Overwrites the weights and both moments and clears the gradient. `written(at, count)` is called for each run of
/// weights of the tensor once it is written.
template <class T, class Barrier, class Written>
void adafactor_update(const AdafactorStep& step, const FactoredTensor<T>& tensor, int number, int parts,
                      AdafactorSums& sums, Barrier barrier, Written written) {
  const auto width = std::size_t(tensor.columns);
  const double fresh = 1 - step.beta, squared_scale = step.gradient_scale * step.gradient_scale;
  const Range shards = share_of(adafactor_shards, number, parts);
  const auto each_row = [&](auto&& f) {
    for (int shard = shards.begin; shard < shards.end; ++shard) {
      const Range rows = share_of(tensor.rows, shard, adafactor_shards);
      for (int r = rows.begin; r < rows.end; ++r) f(shard, r, std::int64_t(r) * tensor.columns);
    }
  };
  std::fill(sums.weight + shards.begin, sums.weight + shards.end, 0.0);
  std::fill(sums.update + shards.begin, sums.update + shards.end, 0.0);

  each_row([&](int shard, int r, std::int64_t at) {
    sums.weight[shard] += sum_of_squares<T>(width, tensor.weight + at);
    if (tensor.row == nullptr) return;
    const double mean = squared_scale * sum_of_squares<T>(width, tensor.gradient + at) / tensor.columns;
    tensor.row[r] = T(step.beta * double(tensor.row[r]) + fresh * (mean + step.epsilon1));
  });
  const Range columns = share_of(tensor.columns, number, parts, 16);
  const auto own = std::size_t(columns.size());
  T* const column = tensor.column + columns.begin;
  sweep<T>(own, [&](auto place) { place.store(column, place.load(column) * T(step.beta) + T(fresh * step.epsilon1)); });
  for (int r = 0; r < tensor.rows; ++r)
    sweep<T>(own, [&](auto place) {
      const Simd<T> g = place.load(tensor.gradient + std::int64_t(r) * tensor.columns + columns.begin);
      place.store(column, fma(g * T(fresh * squared_scale / tensor.rows), g, place.load(column)));
    });
  barrier();

  double mean_row = 0;
  for (int r = 0; tensor.row != nullptr && r < tensor.rows; ++r) mean_row += double(tensor.row[r]) / tensor.rows;
  const auto row_factor = [&](int r) { return tensor.row == nullptr ? 1.0 : mean_row / double(tensor.row[r]); };
  each_row([&](int shard, int r, std::int64_t at) {
    sums.update[shard] += squared_scale * row_factor(r) * sum_of_ratios<T>(width, tensor.gradient + at, tensor.column);
  });
  barrier();

  const double size = double(tensor.rows) * tensor.columns;
  const double length = std::max(step.epsilon2, AdafactorSums::root_mean(sums.weight, size)) * step.relative_rate /
                        std::max(1.0, AdafactorSums::root_mean(sums.update, size) / step.clip_threshold);
  const T keep = T(1 - step.rate * step.decay);
  each_row([&](int, int r, std::int64_t at) {
    const T factor = T(length * step.gradient_scale * std::sqrt(row_factor(r)));
    T *weight = tensor.weight + at, *gradient = tensor.gradient + at;
    sweep<T>(width, [&](auto place) {
      const Simd<T> v = place.select(place.load(tensor.column), T(1));
      place.store(weight, place.load(weight) * keep - place.load(gradient) / sqrt(v) * factor);
      place.store(gradient, Simd<T>{});
    });
    written(at, width);
  });
  barrier();
}

}  // namespace fathom::inline FATHOM_ABI::cpu::inline FATHOM_CPU_ABI
