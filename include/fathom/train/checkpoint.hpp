// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <exception>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/io/background.hpp>
#include <fathom/io/safetensors.hpp>
#include <fathom/models/description.hpp>
#include <fathom/models/tensor_file.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/train/checkpoint_config.hpp>
#include <fathom/train/run.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// A checkpoint is a directory that is written beside the old one and renamed whole:
///
///   model.safetensors   the weights, or the masters that they are rounded from, named as in `describe<Model>()`
///   state.safetensors   the optimizer's state, named as in `Optimizer::describe_state`
///   average.safetensors the average of the weights, where training keeps one; inference uses it then
///   config.json         format, what the model is, options of trainer and optimizer, progress, the sampler's
///                       cursor, the best validation, an update whose validation is still to be made,
///                       metadata; see checkpoint_config.hpp
///
/// All tensor files hold the checksum of config.json and say which of the three they are: it is as safe as they are,
/// and files of two checkpoints, or of one, do not mix.
namespace fathom::inline FATHOM_ABI {

/// What a checkpoint holds for the program, beside the trainer's state.
struct CheckpointInfo {
  /// A sampler's cursor beyond it is none: doubles cannot tell epochs apart there.
  static constexpr std::uint64_t largest_cursor = std::uint64_t{1} << 53;

  std::uint64_t cursor = 0;                    ///< of the sampler: where the data goes on
  BestValidation best = {};                    ///< of the run
  std::optional<StepReport> unvalidated = {};  ///< the last update, if its validation is still to be made
  safetensors::Metadata metadata = {};         ///< the program's own texts
};

namespace detail {

/// A flat buffer of any machine.
template <class T>
class FlatView {
 public:
  FlatView() = default;
  template <class Memory>
  requires(!std::same_as<Memory, FlatView>) explicit FlatView(const Memory& memory)
      : memory_(&memory), size_(memory.size()), download_([](const void* from, std::int64_t first, std::span<T> values) {
          static_cast<const Memory*>(from)->download(first, values);
        }) {}

  std::int64_t size() const { return size_; }
  void download(std::int64_t first, std::span<T> values) const { download_(memory_, first, values); }

 private:
  const void* memory_ = nullptr;
  std::int64_t size_ = 0;
  void (*download_)(const void*, std::int64_t, std::span<T>) = nullptr;
};

/// Errors: `Error` for a tensor that is not finite, which could not be loaded; `FileError` of the disk.
template <class T, class Table>
void write_role(const std::filesystem::path& directory, TensorRole role, const FlatView<T>& flat, const Table& table,
                const std::string& config_checksum) {
  write_tensors<T>(directory / file_of(role), {{config_checksum_key, config_checksum}, {role_key, name_of(role)}}, flat,
                   table, [&](const std::string& name) {
                     throw Error("save_checkpoint: tensor '" + name + "' of the " + name_of(role) +
                                 " is not finite, so nothing can go on from it; use an earlier checkpoint, or start "
                                 "again");
                   });
}

template <class Trainer>
std::vector<StateTensor> state_table(const Trainer& trainer) {
  return Trainer::Optimizer::describe_state(parameter_extent<typename Trainer::Model>(), trainer.table());
}

template <class Optimizer>
Json describe_optimizer(const typename Optimizer::Options& chosen) {
  Json options = Json::object();
  if constexpr (std::is_constructible_v<Json, decltype(chosen)>) options = chosen;
  return {{"name", Optimizer::name}, {"options", std::move(options)}};
}

inline CheckpointInfo read_info(const Config& config) {
  const auto metadata = config.get<std::map<std::string, std::string>>("metadata");
  const auto cursor = config.get<std::uint64_t>("sampler_position");
  if (cursor > CheckpointInfo::largest_cursor)
    config.refuse_field("sampler_position", "at most " + std::to_string(CheckpointInfo::largest_cursor));
  return {.cursor = cursor,
          .best = config.progress().best,
          .unvalidated = config.unvalidated(),
          .metadata = {metadata.begin(), metadata.end()}};
}

}  // namespace detail

/// The whole state of a training at one moment: the tensors are views of the trainer's.
template <class Trainer>
class TrainingState {
 public:
  /// Errors: `Error` for what a checkpoint cannot hold.
  TrainingState(Trainer& trainer, const CheckpointInfo& info)
      : weights(trainer.masters()),
        optimizer(trainer.optimizer_state()),
        table_(trainer.table()),
        optimizer_table_(detail::state_table(trainer)) {
    const auto& kept_average = trainer.average();
    const auto [step, updates, skipped_in_a_row, norms] = trainer.counters();
    const detail::SavedProgress progress{.step = step,
                                         .updates = updates,
                                         .skipped_in_a_row = skipped_in_a_row,
                                         .norms = norms,
                                         .averaged = kept_average ? kept_average->count() : 0,
                                         .best = info.best};
    if (progress.averaged > 0) average = detail::FlatView<typename Trainer::P::Master>(kept_average->flat());
    if (const auto fault = progress.fault())
      throw Error("save_checkpoint: " + std::string(fault->field) + " must be " + fault->rule);
    if (info.cursor > CheckpointInfo::largest_cursor)
      throw Error("save_checkpoint: the sampler's cursor must be at most " +
                  std::to_string(CheckpointInfo::largest_cursor));
    detail::Json config(
        {{"format", detail::checkpoint_format},
         {"model", detail::describe_model<typename Trainer::Model>()},
         {"trainer", trainer.options()},
         {"optimizer", detail::describe_optimizer<typename Trainer::Optimizer>(trainer.optimizer_options())},
         {"progress", detail::to_json(progress)},
         {"sampler_position", info.cursor},
         {"best", {{"step", info.best.step}, {"metric", info.best.metric}, {"since", info.best.since}}},
         {"metadata", std::map<std::string, std::string>(info.metadata.begin(), info.metadata.end())}});
    if (info.unvalidated) config["unvalidated"] = detail::to_json(*info.unvalidated);
    config_ = detail::checked_config(config);
  }

  /// Errors: `FileError`; `Error` for tensors that are not finite. What was at `directory` before is still there.
  void write(const std::filesystem::path& directory) const {
    using detail::TensorRole;
    const std::string checksum = detail::text_checksum(config_);
    AtomicDirectory fresh(directory);
    detail::write_role(fresh.path(), TensorRole::weights, weights, table_, checksum);
    detail::write_role(fresh.path(), TensorRole::state, optimizer, optimizer_table_, checksum);
    if (average.size() > 0) detail::write_role(fresh.path(), TensorRole::average, average, table_, checksum);
    OutputFile config(fresh.path() / "config.json");
    config.write(config_);
    config.close();
    fresh.commit();
  }

  // Whoever copies the tensors points these at the copies.
  detail::FlatView<typename Trainer::P::Master> weights;  ///< the masters, where they have a type of their own
  detail::FlatView<typename Trainer::P::Master> optimizer;
  detail::FlatView<typename Trainer::P::Master> average;  ///< empty: none

 private:
  std::string config_;
  std::vector<ParameterInfo> table_;
  std::vector<StateTensor> optimizer_table_;
};

/// Writes the whole state of training, from which `load_checkpoint` goes on bit for bit. Errors: `FileError`; `Error`
/// for what could not be loaded again, such as weights that are not finite. What was at `directory` before is still
/// there.
template <class Trainer>
void save_checkpoint(const std::filesystem::path& directory, Trainer& trainer, const CheckpointInfo& info = {}) {
  const TrainingState<Trainer> state(trainer, info);
  detail::make_directories(detail::resolve_target(directory).parent_path());
  state.write(directory);
}

/// `save_checkpoint` beside the training: the state is copied, and written by a thread while training goes on. The
/// copy's memory, as much as weights, optimizer state and average, is kept for the next one.
template <class Trainer>
class CheckpointWriter {
 public:
  /// Copies the state, waits for the checkpoint before, and begins to write this one to each of `directories`, one
  /// after another, also when one of them cannot be written; then, when all are, calls `then`. Their parents are there.
  /// Calls `before` ahead of each directory, which is not written if that throws.
  /// Errors: the first of the checkpoint before; `Error` as `TrainingState`.
  void start(
      std::vector<std::filesystem::path> directories, Trainer& trainer, const CheckpointInfo& info,
      std::function<void()> then = [] {}, std::function<void()> before = [] {}) {
    background_.wait();
    TrainingState<Trainer> state(trainer, info);
    state.weights = copy(state.weights, weights_);
    state.optimizer = copy(state.optimizer, optimizer_);
    state.average = copy(state.average, average_);
    background_.start([directories = std::move(directories), state = std::move(state), then = std::move(then),
                       before = std::move(before)] {
      std::exception_ptr first;
      for (const auto& directory : directories) {
        try {
          before();
          state.write(directory);
        } catch (...) {
          if (!first) first = std::current_exception();
        }
      }
      if (first) std::rethrow_exception(first);
      then();
    });
  }
  /// Waits until the checkpoint is complete. Errors: `FileError` of writing it.
  void wait() { background_.wait(); }
  /// The same if it is; otherwise nothing.
  void check() { background_.check(); }

 private:
  template <class T>
  static detail::FlatView<T> copy(const detail::FlatView<T>& from, Buffer<T>& to) {
    if (from.size() == 0) return {};
    if (to.size() != from.size()) to = Buffer<T>(from.size());
    from.download(0, to.span());
    return detail::FlatView<T>(to);
  }

  Buffer<typename Trainer::P::Master> weights_, optimizer_, average_;
  Background background_;
};

/// What a checkpoint holds for the program, without its tensors. Errors: `FileError`, also for a damaged one.
inline CheckpointInfo read_checkpoint_info(const std::filesystem::path& directory) {
  const detail::Config config(committed_directory(directory));
  config.open(detail::TensorRole::weights);
  return detail::read_info(config);
}

/// Restores what `save_checkpoint` wrote. Errors: `FileError` in one line that names the tensor or the field, for a
/// checkpoint of another model or policy, of other options of trainer or optimizer, for a damaged one, and for numbers
/// that no training leaves; the trainer is then what it was.
template <class Trainer>
CheckpointInfo load_checkpoint(const std::filesystem::path& directory, Trainer& trainer) {
  using P = typename Trainer::P;
  using detail::TensorRole;
  constexpr auto exact = safetensors::Narrowing::refuse;
  const detail::Config config(committed_directory(directory));
  config.require_model(detail::describe_model<typename Trainer::Model>());
  config.require("optimizer", detail::describe_optimizer<typename Trainer::Optimizer>(trainer.optimizer_options()));
  config.require("trainer", trainer.options());
  const safetensors::File model = config.open(TensorRole::weights), state = config.open(TensorRole::state);
  const CheckpointInfo info = detail::read_info(config);
  const detail::SavedProgress progress = config.progress();
  if (!trainer.average()) config.require("progress/averaged", 0);
  std::optional<safetensors::File> average;
  if (progress.averaged > 0)
    average.emplace(config.open(TensorRole::average));
  else if (std::error_code none; std::filesystem::exists(directory / file_of(TensorRole::average), none))
    config.refuse_field("progress/averaged",
                        "above 0, because there is an " + std::string(file_of(TensorRole::average)));
  const std::vector<StateTensor> states = detail::state_table(trainer);
  detail::check_tensors<typename P::Master>(model, trainer.table(), exact);
  detail::check_tensors<typename P::Master>(state, states, exact);
  if (average) detail::check_tensors<typename P::Master>(*average, trainer.table(), exact);
  detail::read_tensors(model, trainer.masters(), trainer.table(), exact);
  trainer.round_masters();
  detail::read_tensors(state, trainer.optimizer_state(), states, exact);
  if (average) detail::read_tensors(*average, trainer.average()->flat(), trainer.table(), exact);
  if (trainer.average()) trainer.average()->restore(progress.averaged);
  trainer.clear_gradients();
  trainer.restore({progress.step, progress.updates, progress.skipped_in_a_row, progress.norms});
  return info;
}

namespace detail {

/// Overwrites a flat buffer as `load_checkpoint_weights` says.
template <class Model, class Memory>
void read_weights(const std::filesystem::path& directory, Memory& flat) {
  using T = std::remove_cvref_t<decltype(*flat.data())>;
  constexpr auto rounded = safetensors::Narrowing::round;
  const Config config(committed_directory(directory));
  config.require_model(describe_model<Model>());
  const safetensors::File file =
      config.open(config.progress().averaged > 0 ? TensorRole::average : TensorRole::weights);
  const std::vector<ParameterInfo> table = describe<Model>();
  check_tensors<T>(file, table, rounded);
  read_tensors(file, flat, table, rounded);
}

}  // namespace detail

/// The weights alone, for inference: their average where training kept one. At a lower precision than they were trained
/// in they are rounded. Errors: as of `load_checkpoint`.
template <class Model, class B>
Weights<Model, B> load_checkpoint_weights(const std::filesystem::path& directory) {
  Weights<Model, B> weights;
  detail::read_weights<Model>(directory, weights.flat());
  return weights;
}

}  // namespace fathom::inline FATHOM_ABI
