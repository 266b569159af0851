// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/core/buffer.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/layers/attention.hpp>
#include <fathom/layers/feed_forward.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/layers/sequence.hpp>
#include <fathom/models/weights.hpp>
#include <fathom/train/atomic_write.hpp>
#include <fathom/train/background.hpp>
#include <fathom/train/checksum.hpp>
#include <fathom/train/file.hpp>
#include <fathom/train/options_json.hpp>
#include <fathom/train/run.hpp>
#include <fathom/train/safetensors.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// A checkpoint is a directory that is written beside the old one and renamed whole:
///
///   model.safetensors   the weights, named as in `describe<Model>()`
///   state.safetensors   the optimizer's state, named as in `Optimizer::describe_state`
///   average.safetensors the average of the weights, where training keeps one; inference uses it then
///   config.json         format, what the model is, options of trainer and optimizer, progress, the sampler's
///                       position, the best validation, metadata
///
/// All tensor files hold the checksum of config.json: it is as safe as they are, and files of two checkpoints do not
/// mix.
namespace fathom::inline FATHOM_ABI {

/// What a checkpoint holds for the program, beside the trainer's state.
struct CheckpointInfo {
  std::uint64_t sampler_position = 0;   ///< where the data goes on
  BestValidation best = {};             ///< of the run
  safetensors::Metadata metadata = {};  ///< the program's own texts
};

namespace detail {

using Json = nlohmann::json;
inline constexpr int checkpoint_format = 1;
inline constexpr const char* config_checksum_key = "config";

/// What distinguishes sublayers beyond the shapes of their tensors; nothing for a user's own.
template <class Sublayer>
struct SublayerFacts {
  static Json json() { return Json::object(); }
};
template <int Width, int Heads, class Mask, class... Options>
struct SublayerFacts<Attention<Width, Heads, Mask, Options...>> {
  static Json json() {
    using Shape = AttentionShape<Width, Heads, Options...>;
    return {{"heads", Heads}, {"kv_heads", Shape::kv_heads}, {"rotary", Shape::rotary_base}, {"causal", Mask::causal}};
  }
};
template <int Width, int Hidden, class Act, class... Options>
struct SublayerFacts<FeedForward<Width, Hidden, Act, Options...>> {
  static Json json() { return {{"hidden", Hidden}, {"activation", int(Act::kind)}, {"gated", Act::gated}}; }
};

/// Alpha and beta are those of the first block; a policy's name says how they go on.
template <class Policy, class Sublayer, class NormLayer>
Json describe_residual(std::type_identity<Residual<Policy, Sublayer, NormLayer>>, int depth) {
  Json json = SublayerFacts<Sublayer>::json();
  json["name"] = Sublayer::name;
  json["policy"] = Policy::name;
  json["alpha"] = Policy::skip({0, depth});
  json["beta"] = Policy::gain(Role::feed_forward_output, {0, depth});
  json["norm_kind"] = int(NormLayer::kind);
  json["norm_epsilon"] = NormLayer::epsilon;
  return json;
}

/// What a model is, apart from the shapes of its tensors, which stand in their file.
template <class Model>
Json describe_model() {
  constexpr int depth = Model::Stack::depth;
  Json sublayers = Json::array();
  each_residual<typename Model::Stack>([&](auto residual) { sublayers.push_back(describe_residual(residual, depth)); });
  return {{"name", Model::name},
          {"vocabulary", Model::vocabulary},
          {"context", Model::context},
          {"width", Model::width},
          {"depth", depth},
          {"learned_positions", Model::learned_positions},
          {"sinusoidal_positions", std::is_same_v<typename Model::Positions, SinusoidalPositions>},
          {"embedding_scale", Model::EmbeddingRule::scale(Model::width)},
          {"tied_output", Model::tied},
          {"sublayers", std::move(sublayers)}};
}

inline std::string text_checksum(std::string_view text) {
  Checksum checksum;
  checksum.add(text);
  return safetensors::detail::hexadecimal(checksum.value());
}

/// config.json of a checkpoint. Errors: `FileError` that names the field.
class Config {
 public:
  explicit Config(const std::filesystem::path& directory) : path_(directory / "config.json") {
    const MappedFile file(path_);
    const std::span<const std::byte> bytes = file.bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    checksum_ = text_checksum(text);
    json_ = Json::parse(text, nullptr, false);
    if (json_.is_discarded()) refuse("is not valid JSON", "the file is damaged: restore it from a copy");
    require("format", checkpoint_format);
  }

  /// The file must have been written with this configuration.
  void check_pair(const safetensors::File& file) const {
    const auto entry = file.metadata().find(config_checksum_key);
    if (entry == file.metadata().end() || entry->second != checksum_)
      refuse("does not match the checksum in " + file.path().filename().string(),
             "one of them is damaged or of another checkpoint: restore both from a copy");
    if (!file.has_checksums())
      throw FileError(file.path().string() +
                      ": the checksums are missing; the file is damaged: restore it from a copy");
  }

  /// A field must be as expected, all of it.
  void require(const std::string& field, const Json& expected) const {
    const Json found = get<Json>(field);
    const Json difference = Json::diff(expected, found);
    if (difference.empty()) return;
    const std::string inner = difference[0]["path"].get<std::string>();
    const Json::json_pointer place(inner);
    const auto text = [&](const Json& value) { return value.contains(place) ? value.at(place).dump() : "absent"; };
    refuse("field '/" + field + inner + "' is " + text(found) + " where " + text(expected) + " is needed",
           field == "model" ? "the checkpoint belongs to another model" : "go on with what the run began with");
  }
  template <class T>
  T get(const std::string& field) const try {
    return json_.at(Json::json_pointer("/" + field)).get<T>();
  } catch (const Json::exception&) {
    refuse("field '/" + field + "' is missing or of the wrong type", "the file is of another program or damaged");
  }

 private:
  [[noreturn]] void refuse(const std::string& what, const std::string& remedy) const {
    throw FileError(path_.string() + ": " + what + "; " + remedy);
  }

  std::filesystem::path path_;
  std::string checksum_;
  Json json_;
};

inline safetensors::Shape shape_of(const ParameterInfo& info) {
  return info.is_vector() ? safetensors::Shape{info.columns} : safetensors::Shape{info.rows, info.columns};
}
inline safetensors::Shape shape_of(const StateTensor& tensor) { return {tensor.rows, tensor.columns}; }

template <class T, class Table>
void write_tensors(const std::filesystem::path& path, std::span<const T> flat, const Table& table,
                   const std::string& config_checksum) {
  safetensors::Writer writer;
  writer.set("format", "pt");  // what other readers expect of a file whose matrices are (out, in)
  writer.set(config_checksum_key, config_checksum);
  for (const auto& entry : table)
    writer.add(entry.name, shape_of(entry), flat.subspan(std::size_t(entry.offset), std::size_t(entry.size())));
  writer.write(path);
}

/// Reads every tensor of the table without keeping it, and refuses tensors that the table lacks.
template <class T, class Table>
void check_tensors(const safetensors::File& file, const Table& table, safetensors::Narrowing narrowing) {
  std::vector<T> scratch;
  for (const auto& entry : table) {
    scratch.resize(std::size_t(entry.size()));
    file.read(entry.name, shape_of(entry), std::span<T>(scratch), narrowing);
  }
  if (file.tensors().size() == table.size()) return;
  for (const safetensors::Tensor& tensor : file.tensors())
    if (std::ranges::find(table, tensor.name, [](const auto& entry) { return entry.name; }) == table.end())
      throw FileError(file.path().string() + ": tensor '" + tensor.name +
                      "' has no place; the file belongs to another model");
}

template <class T, class Table>
void read_tensors(const safetensors::File& file, std::span<T> flat, const Table& table,
                  safetensors::Narrowing narrowing) {
  for (const auto& entry : table)
    file.read(entry.name, shape_of(entry), flat.subspan(std::size_t(entry.offset), std::size_t(entry.size())),
              narrowing);
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
  return {.sampler_position = config.get<std::uint64_t>("sampler_position"),
          .best = {.step = config.get<std::int64_t>("best/step"),
                   .metric = config.get<double>("best/metric"),
                   .since = config.get<std::int64_t>("best/since")},
          .metadata = {metadata.begin(), metadata.end()}};
}

}  // namespace detail

/// The whole state of a training at one moment: the tensors are views of the trainer's.
template <class Trainer>
class TrainingState {
 public:
  /// Errors: `Error` for what a checkpoint cannot hold.
  TrainingState(Trainer& trainer, const CheckpointInfo& info)
      : weights(trainer.weights().flat()),
        optimizer(trainer.optimizer_state()),
        table_(trainer.table()),
        optimizer_table_(detail::state_table(trainer)) {
    const auto progress = trainer.progress();
    const auto& kept_average = trainer.average();
    const std::int64_t snapshots = kept_average ? kept_average->count() : 0;
    if (snapshots > 0) average = kept_average->flat();
    if (!std::isfinite(progress.norms.mean)) throw Error("save_checkpoint: the mean gradient norm is not finite");
    const detail::Json config{
        {"format", detail::checkpoint_format},
        {"model", detail::describe_model<typename Trainer::Model>()},
        {"trainer", trainer.options()},
        {"optimizer", detail::describe_optimizer<typename Trainer::Optimizer>(trainer.optimizer_options())},
        {"progress",
         {{"step", progress.step},
          {"updates", progress.updates},
          {"skipped_in_a_row", progress.skipped_in_a_row},
          {"norm_mean", progress.norms.mean},
          {"norm_count", progress.norms.count},
          {"averaged", snapshots}}},
        {"sampler_position", info.sampler_position},
        {"best", {{"step", info.best.step}, {"metric", info.best.metric}, {"since", info.best.since}}},
        {"metadata", std::map<std::string, std::string>(info.metadata.begin(), info.metadata.end())}};
    try {
      config_ = config.dump(2) + "\n";
    } catch (const detail::Json::exception&) {
      throw Error("save_checkpoint: the metadata is not valid UTF-8");
    }
  }

  /// Errors: `FileError`, and what was at `directory` before is still there.
  void write(const std::filesystem::path& directory) const {
    const std::string checksum = detail::text_checksum(config_);
    AtomicDirectory fresh(directory);
    detail::write_tensors(fresh.path() / "model.safetensors", weights, table_, checksum);
    detail::write_tensors(fresh.path() / "state.safetensors", optimizer, optimizer_table_, checksum);
    if (!average.empty()) detail::write_tensors(fresh.path() / "average.safetensors", average, table_, checksum);
    write_file(fresh.path() / "config.json", config_);
    fresh.commit();
  }

  // Whoever copies the tensors points these at the copies.
  std::span<const typename Trainer::P::Weight> weights;
  std::span<const typename Trainer::P::Master> optimizer;
  std::span<const typename Trainer::P::Master> average;  ///< empty: none

 private:
  std::string config_;
  std::vector<ParameterInfo> table_;
  std::vector<StateTensor> optimizer_table_;
};

/// Writes the whole state of training, from which `load_checkpoint` goes on bit for bit.
/// Errors: `FileError`, and what was at `directory` before is still there.
template <class Trainer>
void save_checkpoint(const std::filesystem::path& directory, Trainer& trainer, const CheckpointInfo& info = {}) {
  TrainingState<Trainer>(trainer, info).write(directory);
}

/// `save_checkpoint` beside the training: the state is copied, and written by a thread while training goes on. The
/// copy's memory, as much as weights, optimizer state and average, is kept for the next one.
template <class Trainer>
class CheckpointWriter {
 public:
  /// Copies the state, waits for the checkpoint before, and begins to write this one to each of `directories`, one
  /// after another; then calls `then`. Errors: those of the checkpoint before; `Error` as `save_checkpoint`.
  void start(
      std::vector<std::filesystem::path> directories, Trainer& trainer, const CheckpointInfo& info,
      std::function<void()> then = [] {}) {
    background_.wait();
    TrainingState<Trainer> state(trainer, info);
    state.weights = copy(state.weights, weights_);
    state.optimizer = copy(state.optimizer, optimizer_);
    state.average = copy(state.average, average_);
    background_.start([directories = std::move(directories), state = std::move(state), then = std::move(then)] {
      for (const auto& directory : directories) state.write(directory);
      then();
    });
  }
  /// Waits until the checkpoint is complete. Errors: `FileError` of writing it.
  void wait() { background_.wait(); }
  /// The same if it is; otherwise nothing.
  void check() { background_.check(); }

 private:
  template <class T>
  static std::span<const T> copy(std::span<const T> from, Buffer<T>& to) {
    if (to.size() != std::ssize(from)) to = Buffer<T>(std::ssize(from));
    std::ranges::copy(from, to.data());
    return to.span();
  }

  Buffer<typename Trainer::P::Weight> weights_;
  Buffer<typename Trainer::P::Master> optimizer_, average_;
  Background background_;
};

/// What a checkpoint holds for the program, without its tensors. Errors: `FileError`, also for a damaged one.
inline CheckpointInfo read_checkpoint_info(const std::filesystem::path& directory) {
  const std::filesystem::path path = committed_directory(directory);
  const detail::Config config(path);
  config.check_pair(safetensors::File(path / "model.safetensors"));
  return detail::read_info(config);
}

/// Restores what `save_checkpoint` wrote. Errors: `FileError` in one line that names the tensor or the field, for a
/// checkpoint of another model or policy, of other options of trainer or optimizer, and for a damaged one; the trainer
/// is then what it was.
template <class Trainer>
CheckpointInfo load_checkpoint(const std::filesystem::path& directory, Trainer& trainer) {
  using P = typename Trainer::P;
  constexpr auto exact = safetensors::Narrowing::refuse;
  const std::filesystem::path path = committed_directory(directory);
  const detail::Config config(path);
  config.require("model", detail::describe_model<typename Trainer::Model>());
  config.require("optimizer", detail::describe_optimizer<typename Trainer::Optimizer>(trainer.optimizer_options()));
  config.require("trainer", trainer.options());
  typename Trainer::Progress progress;
  progress.step = config.get<std::int64_t>("progress/step");
  progress.updates = config.get<std::int64_t>("progress/updates");
  progress.skipped_in_a_row = config.get<std::int64_t>("progress/skipped_in_a_row");
  progress.norms.mean = config.get<double>("progress/norm_mean");
  progress.norms.count = config.get<std::int64_t>("progress/norm_count");
  const CheckpointInfo info = detail::read_info(config);

  const auto snapshots = config.get<std::int64_t>("progress/averaged");

  const safetensors::File model(path / "model.safetensors"), state(path / "state.safetensors");
  std::optional<safetensors::File> average;
  if (snapshots > 0) average.emplace(path / "average.safetensors");
  config.check_pair(model);
  config.check_pair(state);
  if (average) config.check_pair(*average);
  const std::vector<StateTensor> states = detail::state_table(trainer);
  detail::check_tensors<typename P::Weight>(model, trainer.table(), exact);
  detail::check_tensors<typename P::Master>(state, states, exact);
  if (average) detail::check_tensors<typename P::Master>(*average, trainer.table(), exact);
  detail::read_tensors(model, trainer.weights().flat(), trainer.table(), exact);
  detail::read_tensors(state, trainer.optimizer_state(), states, exact);
  if (average) detail::read_tensors(*average, trainer.average()->flat(), trainer.table(), exact);
  if (trainer.average()) trainer.average()->restore(snapshots);
  trainer.clear_gradients();
  trainer.restore(progress);
  return info;
}

/// The weights alone, for inference: their average where training kept one. At a lower precision than they were trained
/// in they are rounded. Errors as `load_checkpoint`.
template <class Model, class B>
Weights<Model, B> load_weights(const std::filesystem::path& directory) {
  using T = typename B::Precision::Weight;
  constexpr auto rounded = safetensors::Narrowing::round;
  const std::filesystem::path path = committed_directory(directory);
  const detail::Config config(path);
  config.require("model", detail::describe_model<Model>());
  const bool averaged = config.get<std::int64_t>("progress/averaged") > 0;
  const safetensors::File file(path / (averaged ? "average.safetensors" : "model.safetensors"));
  config.check_pair(file);
  const std::vector<ParameterInfo> table = describe<Model>();
  detail::check_tensors<T>(file, table, rounded);
  Weights<Model, B> weights;
  detail::read_tensors(file, weights.flat(), table, rounded);
  return weights;
}

}  // namespace fathom::inline FATHOM_ABI
