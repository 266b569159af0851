// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/worker.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/core/view.hpp>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What an optimizer is: a type with static functions and options; it owns no memory.
///
///   name                                     for reports and checkpoints
///   Options                                  what the user chooses; `learning_rate` is the rate of a constant schedule
///   check(options)                           throws Error when they make no sense
///   state_size<Model>()                      constexpr: elements of P::Master in its state, which starts as zeros
///   describe_state(extent, table)            the tensors of the state, as checkpoints write them
///   update(worker, options, step, model)     one step; every worker of a region calls it with the same arguments
///
/// `update` clears the gradient and rounds the weights in the same pass. Weight decay acts on the decayed group alone.
/// Alignment gaps, zero before, are zero after.
namespace fathom::inline FATHOM_ABI {

/// What an update is about: flat buffers that share one layout, and the state, whose layout is the optimizer's own.
template <class P>
struct FlatModel {
  Extent extent;
  Elements<typename P::Master> weights{};
  Elements<typename P::Weight> rounded{};  ///< from the weights; empty where there are none
  Elements<typename P::Gradient> gradient{};
  Elements<typename P::Master> state{};
  std::span<const TensorPlace> table{};
};

/// The variables of one update.
struct UpdateStep {
  std::int64_t number;        ///< from 1
  double learning_rate;       ///< of this step
  double gradient_scale = 1;  ///< clipping, and averaging over micro-batches
};

/// One named tensor of an optimizer's state; none has gaps inside.
struct StateTensor {
  std::string name;     ///< such as second.blocks.12.attention.query.weight
  std::int64_t offset;  ///< in the state, in elements
  int rows, columns;

  std::int64_t size() const { return std::int64_t(rows) * columns; }
};

template <class O, class B>
concept Optimizer = requires(Worker<B>& worker, const typename O::Options& options, const UpdateStep& step,
                             const FlatModel<typename B::Precision>& model) {
  { O::name } -> std::convertible_to<std::string_view>;
  { options.learning_rate } -> std::convertible_to<double>;
  O::check(options);
  { O::describe_state(model.extent, std::span<const ParameterInfo>()) } -> std::same_as<std::vector<StateTensor>>;
  O::update(worker, options, step, model);
};

namespace detail {

constexpr void check_optimizer(bool condition, const char* optimizer, const char* rule) {
  if (!condition) throw Error(std::string(optimizer) + ": " + rule);
}
/// Rules that all optimizers share. NaN fails each of them, and so does infinity, which no checkpoint can hold.
constexpr bool is_not_negative(double value) { return value >= 0 && value <= std::numeric_limits<double>::max(); }
constexpr bool is_positive(double value) { return value > 0 && is_not_negative(value); }
constexpr void check_rates(const char* optimizer, double learning_rate, double weight_decay) {
  check_optimizer(is_not_negative(learning_rate), optimizer, "learning_rate must be finite and not negative");
  check_optimizer(is_not_negative(weight_decay), optimizer, "weight_decay must be finite and not negative");
}
constexpr void check_factor(const char* optimizer, double factor, const char* rule) {
  check_optimizer(factor >= 0 && factor < 1, optimizer, rule);
}

}  // namespace detail

/// One group of a model for an elementwise optimizer, whose states are copies of the model's layout, one after another.
template <class P>
struct ParameterGroup {
  UpdateTarget<P> target;
  Elements<typename P::Master> states;  ///< from the group's part of the first state on
  std::int64_t pitch;                   ///< elements from one state to the next

  constexpr Elements<typename P::Master> state(int index) const {
    return states.part(index * pitch, target.weights.size());
  }
};

/// The decayed group and the plain one. Also without memory, in a dry run.
template <class P>
constexpr std::array<ParameterGroup<P>, 2> parameter_groups(const FlatModel<P>& model, const UpdateStep& step,
                                                            double weight_decay) {
  const auto group = [&](std::int64_t begin, std::int64_t count, double decay) {
    const UpdateTarget<P> target{
        .weights = model.weights.part(begin, std::size_t(count)),
        .rounded = model.rounded.empty() ? model.rounded : model.rounded.part(begin, std::size_t(count)),
        .gradient = model.gradient.part(begin, std::size_t(count)),
        .gradient_scale = step.gradient_scale,
        .learning_rate = step.learning_rate,
        .weight_decay = decay};
    return ParameterGroup<P>{target, model.state.part(begin, std::size_t(count)), model.extent.total()};
  };
  return {group(0, model.extent.decayed, weight_decay), group(model.extent.decayed, model.extent.plain, 0)};
}

/// The tensors of states that are copies of the model's layout: `state.parameter` for each state and parameter.
inline std::vector<StateTensor> describe_flat_states(std::initializer_list<std::string_view> states,
                                                     const Extent& extent, std::span<const ParameterInfo> table) {
  std::vector<StateTensor> result;
  std::int64_t begin = 0;
  for (const std::string_view state : states) {
    for (const ParameterInfo& info : table)
      result.push_back({std::string(state) + "." + info.name, begin + info.offset, info.rows, info.columns});
    begin += extent.total();
  }
  return result;
}

}  // namespace fathom::inline FATHOM_ABI
