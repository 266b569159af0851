// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/optim/optimizer.hpp>

namespace fathom::inline FATHOM_ABI {

namespace detail {

/// Counts the second moments of factored tensors: for a matrix one a row and one a column, for a vector all.
struct FactoredCounter : CountingVisitor<FactoredCounter> {
  template <class View>
  constexpr void tensor(std::string_view, View&, Role role, Init) {
    count += View::rows == 1 && !decays(role) ? View::columns : View::rows + View::columns;
  }
  template <class View>
  constexpr void fused(View&, std::initializer_list<Part> parts) {
    for (const Part& part : parts) count += View::rows == 1 ? part.rows : part.rows + View::columns;
  }
};

}  // namespace detail

/// Adafactor without momentum: second moments of matrices by row and by column, so that its state is next to nothing;
/// steps relative to the size of each tensor. A fused matrix is as many matrices as it has names. Formula:
/// `op::AdafactorUpdate`. Source: Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5.
struct Adafactor {
  static constexpr const char* name = "Adafactor";
  struct Options {
    double learning_rate = 1e-2;  ///< relative to the root mean square of the tensor
    double decay_exponent = 0.8;  ///< the second moments' factor in step t is 1 − t^(−decay_exponent)
    double epsilon1 = 1e-30;      ///< added to squared gradients
    double epsilon2 = 1e-3;       ///< least root mean square of a tensor that steps are relative to
    double clip_threshold = 1;    ///< largest root mean square of a tensor's update before the learning rate
    double weight_decay = 0;      ///< decoupled
  };

  static constexpr void check(const Options& options) {
    detail::check_rates(name, options.learning_rate, options.weight_decay);
    detail::check_optimizer(options.decay_exponent > 0 && options.decay_exponent <= 1, name,
                            "decay_exponent must be in (0, 1]");
    detail::check_optimizer(detail::is_positive(options.epsilon1) && detail::is_positive(options.epsilon2), name,
                            "epsilon1 and epsilon2 must be positive and finite");
    detail::check_optimizer(detail::is_positive(options.clip_threshold), name,
                            "clip_threshold must be positive and finite; 1e300 does not clip");
  }

  template <class Model>
  static constexpr std::int64_t state_size() {
    typename Model::template Params<const float> params;
    detail::FactoredCounter counter;
    params.each(counter);
    return counter.count;
  }
  static std::vector<StateTensor> describe_state(const Extent&, std::span<const ParameterInfo> table) {
    std::vector<StateTensor> result;
    std::int64_t begin = 0;
    const auto add = [&](const char* moment, const ParameterInfo& info, int count) {
      result.push_back({std::string(moment) + "." + info.name, begin, 1, count});
      begin += count;
    };
    for (const ParameterInfo& info : table) {
      if (!info.is_vector()) add("row", info, info.rows);
      add(info.is_vector() ? "second" : "column", info, info.columns);
    }
    return result;
  }

  template <class W, class P = typename W::Precision>
  static constexpr void update(W& worker, const Options& options, const UpdateStep& step, const FlatModel<P>& model) {
    // Tensors that stand together in the table and have the same factors are updated together; a dry run has no table.
    std::size_t first = 0;
    std::int64_t moments = 0;
    do {
      const UpdateFactors factors = model.factors.empty() ? UpdateFactors{} : model.factors[first];
      std::size_t end = first;
      std::int64_t count = 0;
      while (end < model.table.size() && (model.factors.empty() || model.factors[end] == factors))
        count += moments_of(model.table[end++]);
      worker(op::AdafactorUpdate<P>{
          .target = {.weights = model.weights,
                     .rounded = model.rounded,
                     .gradient = model.gradient,
                     .gradient_scale = step.gradient_scale,
                     .learning_rate = factors.rate * step.learning_rate,
                     .weight_decay = factors.decay * options.weight_decay},
          .moments = model.factors.empty() ? model.state : model.state.part(moments, std::size_t(count)),
          .table = model.table.subspan(first, end - first),
          .decay_exponent = options.decay_exponent,
          .epsilon1 = options.epsilon1,
          .epsilon2 = options.epsilon2,
          .clip_threshold = options.clip_threshold,
          .step = step.number});
      first = end;
      moments += count;
    } while (first < model.table.size());
  }

 private:
  static constexpr std::int64_t moments_of(const TensorPlace& tensor) {
    return (tensor.vector ? 0 : tensor.rows) + tensor.columns;
  }
};

}  // namespace fathom::inline FATHOM_ABI
