// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/core/batch.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/train/batch_copies.hpp>
#include <fathom/train/trainer.hpp>
#include <functional>
#include <iterator>
#include <optional>
#include <span>
#include <string>

namespace fathom::inline FATHOM_ABI {

/// Where a run's batches come from: an endless series of which one number says where it goes on. `text::Prefetch` is
/// one.
///
///   next()       the next batch, valid until the following call
///   cursor()     of the batch that follows: what a checkpoint stores
template <class S, class Batch = TokenBatch>
concept BatchSource = requires(S& source) {
  { source.next() } -> std::convertible_to<Batch>;
  { source.cursor() } -> std::convertible_to<std::uint64_t>;
};

/// When and how a run is judged.
struct Validation {
  std::int64_t every = 0;  ///< updates from one to the next; there is one behind the last update too
  /// Such as a loss on other text; empty: no validation. Nothing, in place of a number, stops the run: see
  /// `TrainingRun`.
  std::function<std::optional<double>()> metric = {};
  bool higher_is_better = false;  ///< such as an accuracy
  int patience = 0;               ///< validations in a row that are no new best, after which the run ends; 0: none do
};

struct RunOptions {
  std::int64_t steps = 1000;                               ///< updates, those before a resume included
  std::function<double(std::int64_t)> learning_rate = {};  ///< a `Schedule`; empty: the optimizer's, always
  int accumulate = 1;                                      ///< batches whose gradients make one update
  Validation validation = {};
};

/// The best validation so far. Part of the training state: a checkpoint holds it, so that a resumed run ends where the
/// uninterrupted one does.
struct BestValidation {
  std::int64_t step = 0;   ///< 0: none yet
  double metric = 0;       ///< finite
  std::int64_t since = 0;  ///< validations after it, none of them better

  friend bool operator==(const BestValidation&, const BestValidation&) = default;
};

/// What became of one update of a run.
struct RunReport : StepReport {
  std::optional<double> metric = {};  ///< of the validation behind this update
  bool is_best = false;               ///< it is better than all before; one that is not finite never is
  bool is_last = false;               ///< the run ends with this update
};

/// A training run: the range of its updates. Each is made when the loop comes to it; what shall happen with it (log,
/// checkpoint, progress) is the loop's body, and what the body has done is done before the next update begins.
///
///   for (const RunReport& report : TrainingRun(trainer, batches, {.steps = 2000, .learning_rate = schedule}))
///     std::cout << report.step << " " << report.loss << "\n";
///
/// A run goes on where its trainer stands: resume by loading a checkpoint into the trainer, starting the batches at its
/// cursor and handing over its `best` and `unvalidated`. Trainer and batches are viewed and must outlive the run.
///
/// An update is reported when its validation is done. A metric that was stopped has no value: the range then ends
/// without that update's report, which is `unvalidated()`, and a run that is resumed with it makes the validation first
/// and begins with that report. So a validation can be stopped at any time, and nothing comes out differently.
template <class TrainerType, BatchSource<typename TrainerType::Batch> Source>
class TrainingRun {
 public:
  using Trainer = TrainerType;
  using Batch = typename Trainer::Batch;

  /// Errors: `Error` for options that make no sense, and for a trainer that is behind more updates than the run has.
  TrainingRun(Trainer& trainer, Source& batches, RunOptions options, const BestValidation& best = {},
              std::optional<StepReport> unvalidated = {})
      : trainer_(trainer),
        batches_(batches),
        options_(std::move(options)),
        best_(best),
        unvalidated_(std::move(unvalidated)),
        copies_(options_.accumulate > 1 ? options_.accumulate : 0) {
    const auto check = [](bool condition, const char* rule) {
      if (!condition) throw Error(std::string("TrainingRun: ") + rule);
    };
    check(options_.steps >= 0, "steps must not be negative");
    if (step() > options_.steps)
      throw Error("TrainingRun: the trainer stands at update " + std::to_string(step()) + " of a run of " +
                  std::to_string(options_.steps) + "; give the run's own checkpoint, or more steps");
    check(options_.accumulate >= 1, "accumulate must be at least 1");
    check(!options_.validation.metric || options_.validation.every >= 1,
          "a validation metric needs `every`, the updates from one validation to the next");
    check(options_.validation.patience >= 0, "patience must not be negative");
    check(options_.validation.metric || options_.validation.patience == 0, "patience needs a validation metric");
    check(!unvalidated_ || options_.validation.metric, "an update that is still to be validated needs a metric");
    check(!unvalidated_ || unvalidated_->step == step(), "only the last update can be still to be validated");
  }

  class Iterator {
   public:
    using value_type = RunReport;
    using difference_type = std::ptrdiff_t;

    explicit Iterator(TrainingRun& run) : run_(&run) {}
    const RunReport& operator*() const { return run_->report_; }
    const RunReport* operator->() const { return &run_->report_; }
    Iterator& operator++() {
      run_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return run_->over_; }

   private:
    TrainingRun* run_;
  };

  /// Makes the first update, or the validation that is still to be made. Errors, here and of `++`: those of
  /// `Trainer::step`, the batches and the metric.
  Iterator begin() {
    advance();
    return Iterator(*this);
  }
  std::default_sentinel_t end() const { return {}; }

  /// Ends the run behind the update at hand; its report says so from now on.
  void stop() { report_.is_last = stopped_ = true; }

  /// Updates of the whole run, and those that are done.
  std::int64_t steps() const { return options_.steps; }
  std::int64_t step() const { return trainer_.counters().step; }
  /// The update at hand.
  const RunReport& report() const { return report_; }
  const BestValidation& best() const { return best_; }
  /// The last update, if its validation is still to be made: it was stopped, or has failed.
  const std::optional<StepReport>& unvalidated() const { return unvalidated_; }
  /// Whether the best validation is so long ago that the run ends.
  bool out_of_patience() const {
    return options_.validation.patience > 0 && best_.since >= options_.validation.patience;
  }
  Trainer& trainer() const { return trainer_; }
  /// Where the batches go on.
  std::uint64_t cursor() const { return batches_.cursor(); }

 private:
  void advance() {
    over_ = stopped_ || (!unvalidated_ && (step() >= options_.steps || out_of_patience()));
    if (over_) return;
    RunReport report;
    static_cast<StepReport&>(report) = unvalidated_ ? *unvalidated_ : update();
    if (unvalidated_ || is_to_be_validated()) {
      unvalidated_ = report;
      report.metric = options_.validation.metric();
      over_ = stopped_ = !report.metric;
      if (over_) return;
      judge(report);
      unvalidated_.reset();
    }
    report.is_last = step() >= options_.steps || out_of_patience();
    report_ = std::move(report);
  }

  bool is_to_be_validated() const {
    return options_.validation.metric && (step() % options_.validation.every == 0 || step() == options_.steps);
  }

  StepReport update() {
    const double rate =
        options_.learning_rate ? options_.learning_rate(step() + 1) : trainer_.optimizer_options().learning_rate;
    if (options_.accumulate == 1) return trainer_.step(Batch(batches_.next()), rate);
    for (int i = 0; i < options_.accumulate; ++i) copies_.set(i, batches_.next());
    return trainer_.step(copies_.batches(), rate);
  }

  void judge(RunReport& report) {
    const double metric = *report.metric;
    report.is_best =
        std::isfinite(metric) &&
        (best_.step == 0 || (options_.validation.higher_is_better ? metric > best_.metric : metric < best_.metric));
    if (report.is_best)
      best_ = {.step = step(), .metric = metric, .since = 0};
    else
      ++best_.since;
  }

  Trainer& trainer_;
  Source& batches_;
  RunOptions options_;
  BestValidation best_;
  std::optional<StepReport> unvalidated_;
  BatchCopies<Batch> copies_;
  RunReport report_;
  bool stopped_ = false, over_ = false;
};

}  // namespace fathom::inline FATHOM_ABI
