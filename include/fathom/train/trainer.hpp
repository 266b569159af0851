// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/backend/backends.hpp>
#include <fathom/backend/context.hpp>
#include <fathom/backend/dry_run.hpp>
#include <fathom/backend/non_finite.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/models/model.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/optim/average.hpp>
#include <fathom/optim/clip.hpp>
#include <fathom/optim/optimizer.hpp>
#include <fathom/optim/parameter_rules.hpp>
#include <fathom/train/evaluate.hpp>
#include <fathom/train/memory_plan.hpp>
#include <fathom/train/padding.hpp>
#include <fathom/train/trainer_options.hpp>
#include <limits>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// Owns everything that training needs, allocated when it is made: weights, gradients, optimizer state, activations and
/// the context. A step allocates nothing; on a GPU, what the device keeps of the first step of a shape.
///
/// A step whose loss or gradient is not finite, whose clipped gradient is too large for its squares in the optimizer
/// state, or whose gradient norm is a spike, leaves weights and optimizer state untouched and says in its report where
/// the trouble began.
template <class ModelType, class BackendType, class OptimizerType>
class Trainer {
  static_assert(CheckBackend<BackendType>::value);

 public:
  using Model = ModelType;
  using B = BackendType;
  using Optimizer = OptimizerType;
  using P = typename B::Precision;
  using Batch = typename Model::Batch;
  using Capacity = typename Model::Capacity;

  /// Updates with a larger learning rate are refused: whatever the gradient, they would only destroy the weights.
  static constexpr double largest_learning_rate = 1e6;

  /// Errors: `ShapeError` of `Model::check_capacity`, and for one that is `forward_only`; `Error` for options that make
  /// no sense, and of `check_memory`.
  Trainer(const Capacity& capacity, const TrainerOptions& options, const typename Optimizer::Options& optimizer = {},
          const typename B::Options& machine = {})
      : capacity_(checked(capacity)),
        padding_(capacity),
        options_(checked(options, capacity, machine)),
        optimizer_options_(optimizer),
        one_lane_(B::one_lane(machine)),
        table_(describe<Model>()),
        places_(places_of(table_)),
        rates_(options_.rules, extent, table_),
        gradients_(extent.total()),
        state_(Optimizer::template state_size<Model>()),
        activations_(saved_bytes<Model, P>(kept())),
        context_(machine) {
    Optimizer::check(optimizer);
    initialize(context_, masters(), table_, options.seed);
    round_masters();
    if (options.average > 0) average_.emplace(extent.total(), options.average);
    context_.reserve(step_workspace<Model, B, Optimizer>(kept(), options.dropout));
  }

  /// One update from the sum of the gradients of several batches (gradient accumulation), the loss averaged over all
  /// their counted targets. Errors: `Error` without a batch, for a learning rate that is NaN, negative or above
  /// `largest_learning_rate`, and after `patience` skipped updates in a row; `ShapeError` for a batch that
  /// `Model::check` refuses.
  StepReport step(std::span<const Batch> batches, double learning_rate) {
    if (batches.empty()) throw Error("Trainer: a step without batches; give at least one");
    if (!(learning_rate >= 0 && learning_rate <= largest_learning_rate)) {
      std::ostringstream text;
      text << "Trainer: a learning rate of " << learning_rate << " at step " << step_ + 1 << "; it must be from 0 to "
           << largest_learning_rate << ", look at the schedule";
      throw Error(text.str());
    }
    StepReport report;
    report.learning_rate = learning_rate;
    std::int64_t targets = 0;
    for (const Batch& batch : batches) {
      check(batch);
      report.tokens += batch.output_packing().rows();
      targets += batch.target_count();
    }
    report.step = ++step_;
    const double target_weight = targets > 0 ? 1.0 / double(targets) : 0;
    LossSums total;
    bool accepted = false;
    batches = padding_(batches);
    // All lanes come to the same decisions from the same numbers; the first one reports them.
    context_.run(batches.front().output_packing(), pass(), [&](auto& worker) {
      const bool first = worker.first();
      LossSums sums;
      for (std::size_t index = 0; index < batches.size(); ++index) {
        const auto rows = worker.on(batches[index].output_packing());
        if (index > 0) sums += worker.read(&Slots::loss);
        gradients_of(worker, batches[index], index, target_weight);
      }
      worker(op::SumOfSquares<P>{.x = gradients_, .result = worker.slot(&Slots::squares)});
      const double norm = std::sqrt(worker.read(&Slots::squares));
      sums += worker.read(&Slots::loss);
      const double loss = options_.loss.total(sums) * target_weight;
      const double scale = clip_scale(norm, options_.clip_norm);
      const bool accept = std::isfinite(norm) && std::isfinite(loss) && has_squares(norm) &&
                          !norms_.is_spike(norm, options_.spike_factor);
      if (accept) Optimizer::update(worker, optimizer_options_, UpdateStep{updates_ + 1, learning_rate, scale}, flat());
      if (!first) return;
      total = sums;
      report.loss = loss;
      report.cross_entropy = sums.cross_entropy * target_weight;
      report.gradient_norm = norm;
      accepted = accept;
    });
    if (accepted) {
      ++updates_;
      skipped_in_a_row_ = 0;
      norms_.add(report.gradient_norm);
      if (average_) average_->add(context_, masters());
    } else {
      skip(report, batches, target_weight);
    }
    return report;
  }
  StepReport step(const Batch& batch, double learning_rate) { return step(std::span(&batch, 1), learning_rate); }
  /// At the optimizer's own learning rate.
  StepReport step(const Batch& batch) { return step(batch, optimizer_options_.learning_rate); }

  /// Loss of a batch, or of a range of them, without dropout, with the average of the weights if one is kept; nothing
  /// is changed. Of much text `text::Epoch(sampler, limit)` is a sample. Weights alone: `fathom::evaluate`.
  LossSums evaluate(const Batch& batch) {
    check(batch);
    const UseAverage average = use_average();
    return detail::batch_loss<Model>(context_, std::as_const(weights_).params(), padding_(batch), kept(), activations_);
  }
  template <BatchRange<Batch> R>
  Evaluation evaluate(R&& batches, const EvaluateOptions& options = {}) {
    return detail::evaluate_each<Batch>(batches, options, [&](const Batch& batch) { return evaluate(batch); });
  }

  /// Loss of a batch with the dropout of the first of step `step() + 1`, at the weights of now; nothing is changed. All
  /// that a model makes of a batch, without dropout: `batch_outputs`.
  LossSums loss_with_dropout(const Batch& batch) {
    check(batch);
    Pass first = pass(step_ + 1);
    first.key = first.key.child("batch").child(std::uint64_t{0});  // the scope of a step's first batch
    return detail::batch_loss<Model>(context_, std::as_const(weights_).params(), padding_(batch), kept(), activations_,
                                     first);
  }

  /// Gradients of a batch's mean objective at step `step() + 1`, for inspection; overwrites `gradients()`.
  LossSums differentiate(const Batch& batch) {
    check(batch);
    clear_gradients();
    const std::int64_t targets = batch.target_count();
    LossSums sums;
    const Batch given = padding_(batch);
    context_.run(given.output_packing(), pass(step_ + 1), [&](auto& worker) {
      gradients_of(worker, given, 0, targets > 0 ? 1.0 / double(targets) : 0);
      const LossSums loss = worker.read(&Slots::loss);
      if (worker.first()) sums = loss;
    });
    return sums;
  }
  /// Forgets the gradients, which `step` adds to and leaves at zero.
  void clear_gradients() { gradients_.zero(); }

  /// The sums of the squares of `gradients()`, of each tensor of `table()`.
  std::vector<double> gradient_squares() {
    typename B::template Buffer<double> results(std::ssize(places_));
    context_.run(Packing{}, Pass{}, [&](auto& worker) {
      worker(op::TensorSquares<P>{.x = gradients_, .table = places_, .results = results});
    });
    return values_of(results);
  }

  /// What the output layer reads of a batch at the weights of now, without dropout: (rows, width), see
  /// `Saved<P>::stack_output` of the model.
  Matrix<const typename P::Activation> stack_output(const Batch& batch, std::vector<typename P::Activation>& values) {
    check(batch);
    context_.run(batch.output_packing(), Pass{}, [&](auto& worker) {
      auto saved = saved_values();
      Model::forward(worker, weights_.params(), Flow<P>{}, batch, saved);
    });
    const auto rows = resized(saved_values().stack_output(), batch.output_packing().rows());
    const Matrix<const typename P::Activation> output = rows;
    values.resize(std::size_t(output.rows) * std::size_t(output.columns));
    activations_.download(reinterpret_cast<const std::byte*>(output.data) - std::as_const(activations_).data(),
                          std::as_writable_bytes(std::span(values)));
    return {values.data(), output.rows, output.columns};
  }

  /// What `f` makes of the machine of `Watched`, which observes B, behind the forward pass of a batch at step `step() +
  /// 1` on one lane.
  template <class Watched>
  auto observe_forward(const Batch& batch, auto&& f) {
    check(batch);
    Context<Watched> context(one_lane_);
    context.reserve(training_cost<Model, Watched>(kept(), options_.dropout).size);
    context.run(batch.output_packing(), pass(step_ + 1), [&](auto& worker) {
      auto saved = saved_values();
      Model::forward(worker, weights_.params(), Flow<P>{}, batch, saved);
    });
    return f(context.machine());
  }

  /// Sets learned skip scales from the variances on one batch, with the dropout of training (Admin). Call once, before
  /// training; does nothing for a model whose policies ask for no such pass. Errors: `Error` for a model in which some
  /// policies do and others have learned skip scales too.
  void profile(const Batch& batch) {
    check(batch);
    std::vector<const ParameterInfo*> scales;
    for (const ParameterInfo& info : table_)
      if (info.role == Role::skip_scale) scales.push_back(&info);
    if (scales.empty()) return;
    std::vector<double> values(scales.size());
    AdminProfile profile{.scales = values.data()};
    Context<B> alone(one_lane_);
    alone.reserve(training_cost<Model, B>(kept(), options_.dropout).size);
    alone.run(batch.output_packing(), pass(), [&](auto& worker) {
      auto saved = saved_values();
      Flow<P> flow;
      flow.profile = &profile;
      Model::forward(worker, weights_.params(), flow, batch, saved);
    });
    if (profile.count == 0) return;
    if (std::size_t(profile.count) != scales.size())
      throw Error("Trainer::profile: " + std::to_string(profile.count) + " of the model's " +
                  std::to_string(scales.size()) +
                  " learned skip scales are profiled; give all sublayers that have one "
                  "a policy that is");
    for (std::size_t i = 0; i < scales.size(); ++i)
      write_tensor(masters(), *scales[i], std::vector(std::size_t(scales[i]->size()), typename P::Master(values[i])));
    round_masters();
  }

  const Weights<Model, B>& weights() const { return weights_; }
  Weights<Model, B>& weights() { return weights_; }
  /// What the optimizer updates and a checkpoint holds, a flat buffer as `Weights::flat`: the weights themselves; or,
  /// where masters have a type of their own, what weights are rounded from. Whoever writes there calls `round_masters`.
  auto& masters() {
    if constexpr (updates_weights<P>)
      return weights_.flat();
    else
      return masters_;
  }
  void round_masters() {
    if constexpr (!updates_weights<P>) fathom::round_masters(context_, masters_, weights_.flat());
  }
  /// Flat buffers in memory of the machine, see `Weights::flat`; the optimizer says what is in its state.
  const typename B::template Buffer<typename P::Gradient>& gradients() const { return gradients_; }
  const typename B::template Buffer<typename P::Master>& optimizer_state() const { return state_; }
  typename B::template Buffer<typename P::Master>& optimizer_state() { return state_; }
  /// The average of the weights, if `TrainerOptions::average` asks for one; a snapshot is added with each update made.
  std::optional<WeightAverage<B>>& average() { return average_; }
  /// The average in the place of weights and masters until the guard is gone, if there is one with a snapshot: what
  /// `evaluate` measures and a user's model holds. No update and no checkpoint may be made meanwhile; a guard within
  /// another does nothing.
  class UseAverage {
   public:
    explicit UseAverage(Trainer& trainer) : trainer_(trainer) {
      if (!trainer.average_ || trainer.average_->count() == 0 || trainer.uses_average_) return;
      trainer.uses_average_ = true;
      exchange_.emplace(trainer.average_->exchange_with(trainer.masters()));
      trainer.round_masters();
    }
    ~UseAverage() {
      if (!exchange_) return;
      exchange_.reset();
      trainer_.round_masters();
      trainer_.uses_average_ = false;
    }
    UseAverage(const UseAverage&) = delete;
    UseAverage& operator=(const UseAverage&) = delete;

   private:
    Trainer& trainer_;
    std::optional<typename WeightAverage<B>::Exchange> exchange_;
  };
  [[nodiscard]] UseAverage use_average() { return UseAverage(*this); }
  const std::vector<ParameterInfo>& table() const { return table_; }
  const Capacity& capacity() const { return capacity_; }
  const TrainerOptions& options() const { return options_; }
  const typename Optimizer::Options& optimizer_options() const { return optimizer_options_; }
  Context<B>& context() { return context_; }

  /// Counters of the training state, which a checkpoint holds beside weights and optimizer state.
  struct Counters {
    std::int64_t step = 0;     ///< updates tried
    std::int64_t updates = 0;  ///< updates made: what Adam's bias correction counts
    std::int64_t skipped_in_a_row = 0;
    NormTracker norms;
  };
  Counters counters() const { return {step_, updates_, skipped_in_a_row_, norms_}; }
  void restore(const Counters& counters) {
    step_ = counters.step;
    updates_ = counters.updates;
    skipped_in_a_row_ = counters.skipped_in_a_row;
    norms_ = counters.norms;
  }

  /// Bytes that were allocated, to compare with `training_memory`.
  std::int64_t allocated_bytes() const {
    const std::int64_t masters = updates_weights<P> ? 0 : extent.total(), averaged = average_ ? extent.total() : 0;
    return extent.total() * std::int64_t(sizeof(typename P::Weight)) +
           gradients_.size() * std::int64_t(sizeof(typename P::Gradient)) +
           (masters + state_.size() + averaged) * std::int64_t(sizeof(typename P::Master)) + activations_.size() +
           context_.allocated_bytes();
  }

 private:
  static constexpr Extent extent = parameter_extent<Model>();

  static const Capacity& checked(const Capacity& capacity) {
    Model::check_capacity(capacity, "Trainer");
    if (saving(recomputing(capacity, 0), false) != capacity)
      throw ShapeError("Trainer: a capacity of " + text_of(capacity) +
                       ": batches have none of that; leave recomputed out, and give it in TrainerOptions; leave "
                       "saves_all to the backend");
    if (is_forward_only(capacity))
      throw ShapeError("Trainer: a capacity of " + text_of(capacity) +
                       ": nothing would be kept for the backward pass; leave forward_only out");
    return capacity;
  }
  static const TrainerOptions& checked(const TrainerOptions& options, const Capacity& capacity,
                                       const typename B::Options& machine) {
    check_options(options);
    check_memory<Model, B, Optimizer>(capacity, options.recomputed, options.dropout, options.average > 0, machine);
    return options;
  }
  void check(const Batch& batch) const { Model::check(batch, capacity_); }
  /// What a pass keeps for backward is planned for this.
  Capacity kept() const { return BatchPadding<B, Batch>::planned(recomputing(capacity_, options_.recomputed)); }

  /// Whether an optimizer can keep the squares of a gradient of this norm, once it is clipped. Half of the range is for
  /// its rounding.
  bool has_squares(double norm) const {
    const double clipped = norm * clip_scale(norm, options_.clip_norm);
    return clipped * clipped <= double(std::numeric_limits<typename P::Master>::max()) / 2;
  }

  Pass pass() const { return pass(step_); }
  Pass pass(std::int64_t step) const {
    return {Key{options_.seed}.child("dropout").child(std::uint64_t(step)), options_.dropout};
  }
  typename Model::template Saved<P> saved_values() {
    Arena arena = arena_of(activations_);
    return Model::template Saved<P>::take(arena, kept());
  }
  FlatModel<P> flat() {
    Elements<typename P::Weight> rounded;
    if constexpr (!updates_weights<P>) rounded = weights_.flat();
    return {extent, masters(), rounded, gradients_, state_, places_, rates_.ranges, rates_.tensors};
  }

  void gradients_of(auto& worker, const Batch& batch, std::size_t index, double target_weight) {
    const auto scope = worker.scope("batch", int(index));
    auto saved = saved_values();
    const auto params = weights_.params();
    Model::forward(worker, params, Flow<P>{}, batch, saved);
    Model::backward(worker, params, bind_parameters<Model>(gradients_.data()), Flow<P>{}, batch, saved, options_.loss,
                    target_weight);
  }

  /// Names what went wrong, forgets the gradients, and gives up when nothing has worked for long.
  void skip(StepReport& report, std::span<const Batch> batches, double target_weight) {
    if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) {
      try {
        report.skipped = "not finite, first in " + first_non_finite(batches, target_weight);
      } catch (const Error& error) {  // there may be no memory for it
        report.skipped = std::string("not finite; where it began was not found: ") + error.what();
      }
    } else if (!has_squares(report.gradient_norm)) {
      std::ostringstream text;
      text << "the gradient is too large for its squares, its norm is " << report.gradient_norm
           << ", largest in backward." << largest_gradient();
      report.skipped = text.str();
    } else {
      report.skipped = "gradient norm " + std::to_string(report.gradient_norm) + " against a mean of " +
                       std::to_string(norms_.mean) + ", largest in backward." + largest_gradient();
      norms_.add(options_.spike_factor * norms_.mean);
    }
    clear_gradients();
    if (++skipped_in_a_row_ >= options_.patience)
      throw Error("Trainer: " + std::to_string(skipped_in_a_row_) +
                  " updates in a row were skipped, the last at step " + std::to_string(step_) + ": " + report.skipped +
                  "; lower the learning rate or resume from a checkpoint");
  }

  std::string largest_gradient() {
    const std::vector<double> squares = gradient_squares();
    return table_[std::size_t(std::ranges::max_element(squares) - squares.begin())].name;
  }

  /// Replays the step, one op at a time, in memory of its own.
  std::string first_non_finite(std::span<const Batch> batches, double target_weight) {
    clear_gradients();
    Context<FindNonFinite<B>> finder(one_lane_);
    finder.reserve(training_cost<Model, FindNonFinite<B>>(kept(), options_.dropout).size);
    finder.run(batches.front().output_packing(), pass(), [&](auto& worker) {
      for (std::size_t index = 0; index < batches.size(); ++index) {
        const auto rows = worker.on(batches[index].output_packing());
        gradients_of(worker, batches[index], index, target_weight);
      }
    });
    const std::string& found = finder.machine().found();
    return found.empty() ? "the sum of the gradients" : found;
  }

  Capacity capacity_;
  BatchPadding<B, Batch> padding_;
  TrainerOptions options_;
  typename Optimizer::Options optimizer_options_;
  typename B::Options one_lane_;  ///< those of the context, for what runs beside it on one lane
  std::vector<ParameterInfo> table_;
  std::vector<TensorPlace> places_;
  ParameterRates rates_;
  Weights<Model, B> weights_;
  typename B::template Buffer<typename P::Master> masters_{updates_weights<P> ? 0 : extent.total()};
  typename B::template Buffer<typename P::Gradient> gradients_;
  typename B::template Buffer<typename P::Master> state_;
  typename B::template Buffer<std::byte> activations_;
  Context<B> context_;
  std::optional<WeightAverage<B>> average_;
  bool uses_average_ = false;
  std::int64_t step_ = 0, updates_ = 0, skipped_in_a_row_ = 0;
  NormTracker norms_;
};

}  // namespace fathom::inline FATHOM_ABI
