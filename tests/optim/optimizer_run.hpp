// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/context.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/random.hpp>
#include <fathom/optim/optimizer.hpp>
#include <span>
#include <vector>

namespace fathom_test {
using namespace fathom;

/// The flat buffers of one model, and an optimizer that updates them.
template <class O, class B, class Model>
class OptimizerRun {
 public:
  using P = typename B::Precision;
  using T = typename P::Master;
  static_assert(Optimizer<O, B>);
  static constexpr Extent extent = parameter_extent<Model>();

  std::vector<ParameterInfo> table = describe<Model>();
  using Memory = typename B::template Buffer<T>;
  Memory weights{extent.total()}, gradient{extent.total()}, state{O::template state_size<Model>()};

  explicit OptimizerRun(const typename O::Options& options, const typename B::Options& machine = {})
      : options_(options), context_(machine) {
    constexpr PassCost cost = dry_run<B>(Capacity{}, {}, [](auto& worker) {
      O::update(worker, typename O::Options{}, UpdateStep{.number = 1, .learning_rate = 1},
                FlatModel<P>{.extent = extent});
    });
    context_.reserve(cost.size);
  }

  /// Standard normal values for every tensor of `buffer`, and nothing for the gaps.
  void randomize(Memory& buffer, std::uint64_t seed, T factor = 1) const {
    const Philox random(Key{seed});
    std::vector<T> values(std::size_t(buffer.size()));
    for (const ParameterInfo& info : table)
      for (std::int64_t i = info.offset; i < info.offset + info.size(); ++i)
        values[std::size_t(i)] = factor * T(normals(random(std::uint64_t(i)))[0]);
    buffer.upload(0, values);
  }

  void update(double learning_rate, double gradient_scale = 1) {
    const UpdateStep step{++updates_, learning_rate, gradient_scale};
    context_.run(Packing{}, Pass{}, [&](auto& worker) {
      O::update(worker, options_, step, FlatModel<P>{extent, weights, {}, gradient, state, places_});
    });
  }

 private:
  typename O::Options options_;
  Context<B> context_;
  std::vector<TensorPlace> places_ = places_of(table);
  std::int64_t updates_ = 0;
};

}  // namespace fathom_test
