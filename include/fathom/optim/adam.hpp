// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/optim/optimizer.hpp>

namespace fathom::inline FATHOM_ABI {

namespace detail {

/// Adam and AdamW, which differ in where the weight decay enters and in its default.
template <bool Decoupled>
struct AdamFamily {
  static constexpr const char* name = Decoupled ? "AdamW" : "Adam";
  struct Options {
    double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = Decoupled ? 0.01 : 0;
  };

  static constexpr void check(const Options& options) {
    check_rates(name, options.learning_rate, options.weight_decay);
    check_factor(name, options.beta1, "beta1 must be in [0, 1)");
    check_factor(name, options.beta2, "beta2 must be in [0, 1)");
    check_optimizer(is_positive(options.epsilon), name, "epsilon must be positive and finite");
  }

  template <class Model>
  static constexpr std::int64_t state_size() {
    return 2 * parameter_extent<Model>().total();
  }
  static std::vector<StateTensor> describe_state(const Extent& extent, std::span<const ParameterInfo> table) {
    return describe_flat_states({"first", "second"}, extent, table);
  }

  template <class W, class P = typename W::Precision>
  static constexpr void update(W& worker, const Options& options, const UpdateStep& step, const FlatModel<P>& model) {
    each_group(model, step, options.weight_decay, [&](const ParameterGroup<P>& group) {
      worker(op::AdamUpdate<P>{.target = group.target,
                               .first = group.state(0),
                               .second = group.state(1),
                               .beta1 = options.beta1,
                               .beta2 = options.beta2,
                               .epsilon = options.epsilon,
                               .decoupled = Decoupled,
                               .step = step.number});
    });
  }
};

}  // namespace detail

/// Adam with decoupled weight decay. Formula: `op::AdamUpdate`.
/// Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
struct AdamW : detail::AdamFamily<true> {};

/// Adam; weight decay, if any, is added to the gradient. Formula: `op::AdamUpdate`.
/// Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
struct Adam : detail::AdamFamily<false> {};

}  // namespace fathom::inline FATHOM_ABI
