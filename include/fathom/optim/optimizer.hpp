// SPDX-License-Identifier: Apache-2.0
#pragma once

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

/// What learning rate and weight decay of an update are multiplied by.
struct UpdateFactors {
  double rate = 1, decay = 1;
  friend constexpr bool operator==(const UpdateFactors&, const UpdateFactors&) = default;
};
/// Consecutive elements of the flat buffers that are updated alike.
struct UpdateRange {
  std::int64_t begin, count;
  bool decays;  ///< they are of the decayed group
  UpdateFactors factors;
};

/// What an update is about: flat buffers that share one layout, and the state, whose layout is the optimizer's own.
template <class P>
struct FlatModel {
  Extent extent;
  Elements<typename P::Master> weights{};
  Elements<typename P::Weight> rounded{};  ///< from the weights; empty where there are none
  Elements<typename P::Gradient> gradient{};
  Elements<typename P::Master> state{};
  std::span<const TensorPlace> table{};
  std::span<const UpdateRange> ranges{};     ///< all elements; empty: the two groups of the layout, by factors of 1
  std::span<const UpdateFactors> factors{};  ///< of each tensor of the table; empty: 1
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

/// Calls f(group) for the decayed group and the plain one, or for each range of the model. Also without memory, in a
/// dry run.
template <class P, class F>
constexpr void each_group(const FlatModel<P>& model, const UpdateStep& step, double weight_decay, F&& f) {
  const auto update = [&](const UpdateRange& range) {
    const auto count = std::size_t(range.count);
    const UpdateTarget<P> target{
        .weights = model.weights.part(range.begin, count),
        .rounded = model.rounded.empty() ? model.rounded : model.rounded.part(range.begin, count),
        .gradient = model.gradient.part(range.begin, count),
        .gradient_scale = step.gradient_scale,
        .learning_rate = range.factors.rate * step.learning_rate,
        .weight_decay = range.decays ? range.factors.decay * weight_decay : 0};
    f(ParameterGroup<P>{target, model.state.part(range.begin, count), model.extent.total()});
  };
  for (const UpdateRange& range : model.ranges) update(range);
  if (!model.ranges.empty()) return;
  update({.begin = 0, .count = model.extent.decayed, .decays = true, .factors = {}});
  update({.begin = model.extent.decayed, .count = model.extent.plain, .decays = false, .factors = {}});
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
