// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/observed.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/thread.hpp>
#include <fathom/core/view.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/testing/compare.hpp>
#include <fathom/train/trainer.hpp>
#include <functional>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

/// Whether two backends compute the same: a model is trained on both, op by op side by side, and each result of one is
/// compared with that of the other. For who writes a backend, or doubts one.
namespace fathom::inline FATHOM_ABI::testing {

/// What one op has written.
struct WrittenOp {
  struct Output {
    int rows = 0, columns = 0;
    std::vector<double> values;

    Matrix<const double> view() const { return {values.data(), rows, columns}; }
  };
  std::string where;  ///< batch.0.backward.blocks.17.attention (linear dx)
  std::vector<Output> outputs;
};

/// Reads back what every op of a lane has written, and hands it on. An observer, see `Observed`.
template <class B>
class OutputReader : public ScopeObserver {
 public:
  std::function<void(WrittenOp&&)> hand_on = {};  ///< without: nothing is read

  void begin(const auto& /*op*/) {}
  template <class Op>
  void end(const Op& op, typename B::Lane& lane) {
    if (!hand_on) return;
    lane.settle();
    WrittenOp written{path_.text() + " (" + Op::name + ")", {}};
    op.outputs([&](const auto& matrix) {
      if (matrix) written.outputs.push_back(read(matrix, lane));
    });
    if (!written.outputs.empty()) hand_on(std::move(written));
  }

 private:
  template <class T>
  static WrittenOp::Output read(const Matrix<T>& matrix, typename B::Lane& lane) {
    const auto values = read_rows(lane, matrix);
    return {matrix.rows, matrix.columns, {values.begin(), values.end()}};
  }
};

namespace detail {

/// A backend whose ops are read back. Two that are compared save the same and pad alike, so that they run the same ops:
/// what one of `Both` wants.
template <class B, class... Both>
struct Compared : Observed<B, OutputReader<B>> {
  static constexpr bool saves_all = (fathom::saves_all<Both> || ...),
                        pads_batches = (fathom::pads_batches<Both> || ...);
};

/// Ops on their way from the thread of one backend to that of the other: one at a time, so that a thousand layers need
/// no more memory than one.
class Relay {
 public:
  /// Thrown by `give` when nobody takes any more.
  struct Closed {};

  void give(WrittenOp&& op) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !op_ || closed_; });
    if (closed_) throw Closed{};
    op_ = std::move(op);
    changed_.notify_all();
  }
  /// Nothing: there is no other.
  std::optional<WrittenOp> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return op_ || closed_; });
    changed_.notify_all();
    return std::exchange(op_, std::nullopt);
  }
  /// Said by either side when it ends.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<WrittenOp> op_;
  bool closed_ = false;
};

}  // namespace detail

struct VerifyOptions {
  std::int64_t steps = 2;       ///< updates; what one has done to the weights, the forward pass of the next shows
  double tolerance = 1e-4;      ///< of a value, relative to the largest that its op has written
  double learning_rate = 2e-4;  ///< so large that a missing update shows, so small that its rounding does not
  TrainerOptions trainer = {};
};

/// What `verify` has found.
struct Verification {
  std::int64_t ops = 0;      ///< compared, the one that ended it included
  Difference worst;          ///< the greatest difference, or the first beyond tolerance
  std::string where;         ///< of which op
  std::string disagreement;  ///< empty: the backends agree; else what is wrong there, in a sentence
  bool agrees() const { return disagreement.empty(); }
};

/// Trains Model on the backends First and Second from the same seed, on one lane each and in step, and compares every
/// op's results, and each update's loss and gradient norm. Ends with the first that is beyond tolerance, or that only
/// one of them has. `batch_of(step)` is what `Trainer::step` takes for an update, from 0: a batch, or a span of them;
/// two threads ask for it. Both compute in one precision. Errors: what training on either throws; `Error` for a machine
/// of several lanes.
template <class Model, Backend First, Backend Second, class Optimizer = AdamW, class BatchOf>
Verification verify(const typename Model::Capacity& capacity, BatchOf&& batch_of, const VerifyOptions& options = {},
                    const typename First::Options& first = First::one_lane(),
                    const typename Second::Options& second = Second::one_lane()) {
  static_assert(std::is_same_v<typename First::Precision, typename Second::Precision>,
                "fathom: verify compares backends of one precision, such as Ref<Mixed> and Cpu<Mixed>");
  const auto train = [&]<class B>(const std::type_identity<B>&, const typename B::Options& machine, auto&& hand_on) {
    Trainer<Model, detail::Compared<B, First, Second>, Optimizer> trainer(capacity, options.trainer, {}, machine);
    if (trainer.context().lanes() != 1)
      throw Error("verify: a machine of " + std::to_string(trainer.context().lanes()) + " lanes; give both one");
    trainer.context().machine().observers().front().hand_on = hand_on;
    for (std::int64_t step = 0; step < options.steps; ++step) {
      const StepReport report = trainer.step(batch_of(step), options.learning_rate);
      hand_on(WrittenOp{"update " + std::to_string(report.step) + " (loss)", {{1, 1, {report.loss}}}});
      hand_on(WrittenOp{"update " + std::to_string(report.step) + " (norm)", {{1, 1, {report.gradient_norm}}}});
    }
  };

  detail::Relay relay;
  std::exception_ptr error;
  Thread expected([&] {
    try {
      train(std::type_identity<First>{}, first, [&](WrittenOp&& op) { relay.give(std::move(op)); });
    } catch (const detail::Relay::Closed&) {  // the other has seen enough
    } catch (...) {
      error = std::current_exception();
    }
    relay.close();
  });

  Verification found;
  const auto end_with = [&](std::string disagreement) {
    found.disagreement = std::move(disagreement);
    throw detail::Relay::Closed{};
  };
  const auto compare_next = [&](WrittenOp&& actual) {
    const std::optional<WrittenOp> other = relay.take();
    ++found.ops;
    const auto extents = [](const WrittenOp::Output& a, const WrittenOp::Output& b) {
      return a.rows == b.rows && a.columns == b.columns;
    };
    if (!other || other->where != actual.where || !std::ranges::equal(actual.outputs, other->outputs, extents)) {
      found.where = actual.where;
      end_with("the first backend " + (other ? "was asked for " + other->where : std::string("had ended")));
    }
    double largest = 0;
    for (const auto& output : other->outputs)
      for (const double value : output.values) largest = std::max(largest, std::abs(value));
    for (std::size_t i = 0; i < actual.outputs.size(); ++i) {
      const Difference difference = compare(actual.outputs[i].view(), other->outputs[i].view(), largest);
      if (difference.error <= found.worst.error) continue;
      found.worst = difference;
      found.where = actual.where;
      if (difference.error <= options.tolerance) continue;
      std::ostringstream text;
      text << "row " << difference.row << ", column " << difference.column << " is " << difference.actual << ", and "
           << difference.expected << " on the first backend; the largest there is " << largest;
      end_with(text.str());
    }
  };
  std::exception_ptr own_error;
  try {
    train(std::type_identity<Second>{}, second, compare_next);
    if (const auto left = relay.take(); left && found.agrees()) {
      found.where = left->where;
      found.disagreement = "the second backend had ended";
    }
  } catch (const detail::Relay::Closed&) {
  } catch (...) {
    own_error = std::current_exception();
  }
  relay.close();
  expected.join();
  if (error) std::rethrow_exception(error);
  if (own_error) std::rethrow_exception(own_error);
  return found;
}

}  // namespace fathom::inline FATHOM_ABI::testing
