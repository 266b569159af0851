// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/optim/optimizer.hpp>

namespace fathom::inline FATHOM_ABI {

/// Stochastic gradient descent without a state. Weight decay is added to the gradient. Formula: `op::SgdUpdate`.
struct Sgd {
  static constexpr const char* name = "Sgd";
  struct Options {
    double learning_rate = 0.1, weight_decay = 0;
  };

  static constexpr void check(const Options& options) {
    detail::check_rates(name, options.learning_rate, options.weight_decay);
  }

  template <class Model>
  static constexpr std::int64_t state_size() {
    return 0;
  }
  static std::vector<StateTensor> describe_state(const Extent&, std::span<const ParameterInfo>) { return {}; }

  template <class W, class P = typename W::Precision>
  static constexpr void update(W& worker, const Options& options, const UpdateStep& step, const FlatModel<P>& model) {
    each_group(model, step, options.weight_decay, [&](const ParameterGroup<P>& group) {
      worker(op::SgdUpdate<P>{.target = group.target, .momentum = {}, .momentum_factor = 0, .nesterov = false});
    });
  }
};

/// SGD with momentum, or Nesterov's, as PyTorch defines both. Weight decay is added to the gradient. Formula:
/// `op::SgdUpdate`. Source: Sutskever et al. 2013, Proceedings of Machine Learning Research 28(3), section 2.
struct MomentumSgd {
  static constexpr const char* name = "MomentumSgd";
  struct Options {
    double learning_rate = 0.1, momentum = 0.9, weight_decay = 0;
    bool nesterov = false;
  };

  static constexpr void check(const Options& options) {
    detail::check_rates(name, options.learning_rate, options.weight_decay);
    detail::check_factor(name, options.momentum, "momentum must be in [0, 1)");
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
      worker(op::SgdUpdate<P>{.target = group.target,
                              .momentum = group.state(0),
                              .momentum_factor = options.momentum,
                              .nesterov = options.nesterov});
    });
  }
};

}  // namespace fathom::inline FATHOM_ABI
