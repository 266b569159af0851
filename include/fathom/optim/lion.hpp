// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/optim/optimizer.hpp>

namespace fathom::inline FATHOM_ABI {

/// Lion: the sign of an interpolated momentum, with decoupled weight decay. Wants a learning rate 3 to 10 times smaller
/// and a weight decay as many times larger than AdamW. Formula: `op::LionUpdate`.
/// Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2 and section 5.
struct Lion {
  static constexpr const char* name = "Lion";
  struct Options {
    double learning_rate = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
  };

  static constexpr void check(const Options& options) {
    detail::check_rates(name, options.learning_rate, options.weight_decay);
    detail::check_factor(name, options.beta1, "beta1 must be in [0, 1)");
    detail::check_factor(name, options.beta2, "beta2 must be in [0, 1)");
  }

  template <class Model>
  static constexpr std::int64_t state_size() {
    return parameter_extent<Model>().total();
  }
  static std::vector<StateTensor> describe_state(const Extent& extent, std::span<const ParameterInfo> table) {
    return describe_flat_states({"momentum"}, extent, table);
  }

  template <class W, class P = typename W::Precision>
  static constexpr void update(W& worker, const Options& options, const UpdateStep& step, const FlatModel<P>& model) {
    each_group(model, step, options.weight_decay, [&](const ParameterGroup<P>& group) {
      worker(op::LionUpdate<P>{
          .target = group.target, .momentum = group.state(0), .beta1 = options.beta1, .beta2 = options.beta2});
    });
  }
};

}  // namespace fathom::inline FATHOM_ABI
