// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/checksum.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/json.hpp>
#include <fathom/io/safetensors.hpp>
#include <fathom/layers/residual.hpp>
#include <fathom/report/format.hpp>
#include <fathom/train/options_json.hpp>
#include <fathom/train/run.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/// config.json of a checkpoint: what it says and how it is read. Format 2, whose choices are words; what format 1 said
/// is read as format 2 says it.
namespace fathom::inline FATHOM_ABI::detail {

inline constexpr int checkpoint_format = 2;

/// Adds a fact to those of the layer or policy `owner`. Errors: `Error` when there is one of that key.
inline void add_fact(Json& facts, const char* owner, const char* key, Json fact) {
  if (!facts.emplace(key, std::move(fact)).second)
    throw Error("fathom: the description of '" + std::string(owner) + "' has '" + key +
                "' twice; rename it in its describe");
}

template <class L>
Json describe_layer(int depth);

/// What a layer, norm or policy says of itself: its name, and the facts of its `describe`, where it has one.
template <class L>
Json facts_of(int depth) {
  Json facts{{"name", L::name}};
  const auto add = [&]<class T>(const char* key, const T& value) {
    if constexpr (requires { typename T::type; })
      add_fact(facts, L::name, key, describe_layer<typename T::type>(depth));
    else
      add_fact(facts, L::name, key, value);
  };
  if constexpr (requires { L::describe(add); }) L::describe(add);
  return facts;
}

/// Skip and gain are those of the first block; a policy's name says how they go on.
template <class Policy, class NormLayer>
Json describe_residual(int depth) {
  static_assert(requires { Policy::name; },
                "fathom: this policy has no name, which a checkpoint stores: say `static constexpr const char* name = "
                "\"…\";` in it");
  Json residual = facts_of<Policy>(depth);
  const auto add = [&](const char* key, Json fact) { add_fact(residual, Policy::name, key, std::move(fact)); };
  add("alpha", Policy::skip({0, depth}));
  add("beta", Policy::gain(Role::feed_forward_output, {0, depth}));
  add("branch", Policy::branch({0, depth}));
  add("norm", describe_layer<NormLayer>(depth));
  return residual;
}

template <class L>
struct ResidualOf {
  static constexpr bool is_one = false;
};
template <class Policy, class SublayerType, class NormLayer, SublayerPlace Place>
struct ResidualOf<Residual<Policy, SublayerType, NormLayer, Place>> {
  static constexpr bool is_one = true;
  using Sublayer = SublayerType;
  static Json describe(int depth) { return describe_residual<Policy, NormLayer>(depth); }
};

/// A layer with those inside it.
template <class L>
Json describe_layer(int depth) {
  Json json;
  if constexpr (ResidualOf<L>::is_one) {
    using Sublayer = typename ResidualOf<L>::Sublayer;
    if constexpr (ResidualOf<Sublayer>::is_one)
      json = {{"name", L::name}, {"layers", Json::array({describe_layer<Sublayer>(depth)})}};
    else
      json = describe_layer<Sublayer>(depth);
    add_fact(json, L::name, "residual", ResidualOf<L>::describe(depth));
  } else {
    json = facts_of<L>(depth);
    if constexpr (requires { typename L::Block; }) {
      add_fact(json, L::name, "block", describe_layer<typename L::Block>(depth));
    } else if constexpr (requires { L::each_child([](auto) {}); }) {
      Json layers = Json::array();
      L::each_child([&](auto child) { layers.push_back(describe_layer<typename decltype(child)::type>(depth)); });
      add_fact(json, L::name, "layers", std::move(layers));
    }
  }
  return json;
}

/// What a model is, apart from the shapes of its tensors, which stand in their file.
template <class Model>
Json describe_model() {
  Json facts{{"name", Model::name}};
  Model::describe([&]<class T>(const char* key, const T& value) {
    if constexpr (requires { typename T::type; })
      add_fact(facts, Model::name, key, describe_layer<typename T::type>(T::type::depth));
    else
      add_fact(facts, Model::name, key, value);
  });
  return facts;
}

/// `model` as format 1 described it, in the words of format 2. What format 1 did not say is taken from `expected`.
/// Errors: `Json::exception` for a description that is not one of format 1.
inline Json from_format_1(const Json& model, const Json& expected) {
  Json result = expected;
  for (const char* key : {"name", "vocabulary", "context", "width", "depth", "embedding_scale"})
    result[key] = model.at(key);
  result["positions"] = model.at("learned_positions").get<bool>()      ? "learned"
                        : model.at("sinusoidal_positions").get<bool>() ? "sinusoidal"
                                                                       : "none";
  result["output"] = model.at("tied_output").get<bool>() ? "tied" : "separate";
  result["logits"] = "plain";  // it knew no others, nor embeddings that decay
  result["embedding_decays"] = false;

  const auto word = [](const Json& number, std::initializer_list<const char*> words) {
    return Json(words).at(number.get<std::size_t>());
  };
  const auto convert = [&](const Json& from, Json& to) {
    for (const char* key : {"name", "heads", "kv_heads", "rotary", "hidden", "gated"})
      if (from.contains(key)) to[key] = from.at(key);
    if (from.contains("causal")) to["mask"] = from.at("causal").get<bool>() ? "causal" : "full";
    if (from.contains("activation"))
      to["activation"] = word(from.at("activation"), {"relu", "gelu", "gelu_tanh", "silu"});
    Json& residual = to["residual"];
    residual["name"] = from.at("policy");
    residual["alpha"] = from.at("alpha");
    residual["beta"] = from.at("beta");
    residual["norm"]["kind"] = word(from.at("norm_kind"), {"LayerNorm", "RmsNorm"});
    residual["norm"]["epsilon"] = from.at("norm_epsilon");
  };
  // It listed the residual sublayers in their order, wherever they stand.
  const Json& sublayers = model.at("sublayers");
  std::size_t count = 0;
  const auto walk = [&](Json& layer, const auto& again) -> void {
    if (layer.contains("residual")) {
      if (count < sublayers.size()) convert(sublayers.at(count), layer);
      ++count;
    } else if (layer.contains("block")) {
      again(layer["block"], again);
    } else if (layer.contains("layers")) {
      for (Json& inner : layer["layers"]) again(inner, again);
    }
  };
  walk(result["stack"], walk);
  if (count != sublayers.size()) result["stack"] = std::to_string(sublayers.size()) + " residual sublayers";
  return result;
}

inline std::string text_checksum(std::string_view text) {
  Checksum checksum;
  checksum.add(text);
  return safetensors::detail::hexadecimal(checksum.value());
}

/// What a tensor file of a checkpoint holds, as its metadata say.
enum class TensorRole { weights, state, average };
constexpr const char* name_of(TensorRole role) {
  return role == TensorRole::weights ? "weights" : role == TensorRole::state ? "state" : "average";
}
constexpr const char* file_of(TensorRole role) {
  return role == TensorRole::weights ? "model.safetensors"
         : role == TensorRole::state ? "state.safetensors"
                                     : "average.safetensors";
}
inline constexpr const char* role_key = "role";
inline constexpr const char* config_checksum_key = "config";

/// The counters of a checkpoint.
struct SavedProgress {
  std::int64_t step = 0, updates = 0, skipped_in_a_row = 0;
  NormTracker norms;
  std::int64_t averaged = 0;  ///< snapshots in the average
  BestValidation best;

  struct Fault {
    const char *field, *rule;
  };
  /// The first field that cannot be, beside the others, and what it has to be.
  std::optional<Fault> fault() const {
    constexpr std::int64_t most = std::int64_t{1} << 53;
    const auto in = [](std::int64_t value, std::int64_t last) { return value >= 0 && value <= last; };
    if (!in(step, most)) return Fault{"progress/step", "from 0 to 2^53"};
    if (!in(updates, step)) return Fault{"progress/updates", "from 0 to progress/step"};
    if (!in(skipped_in_a_row, step - updates))
      return Fault{"progress/skipped_in_a_row", "from 0 to progress/step - progress/updates"};
    if (!in(norms.count, step)) return Fault{"progress/norm_count", "from 0 to progress/step"};
    if (!std::isfinite(norms.mean) || norms.mean < 0) return Fault{"progress/norm_mean", "finite and not negative"};
    if (!in(averaged, updates)) return Fault{"progress/averaged", "from 0 to progress/updates"};
    if (!in(best.step, step)) return Fault{"best/step", "from 0 to progress/step"};
    if (!in(best.since, step)) return Fault{"best/since", "from 0 to progress/step"};
    if (!std::isfinite(best.metric)) return Fault{"best/metric", "finite"};
    return std::nullopt;
  }
};

inline Json to_json(const SavedProgress& progress) {
  return {{"step", progress.step},
          {"updates", progress.updates},
          {"skipped_in_a_row", progress.skipped_in_a_row},
          {"norm_mean", progress.norms.mean},
          {"norm_count", progress.norms.count},
          {"averaged", progress.averaged}};
}

/// Its numbers are text, because those of a skipped update may be NaN; its step is that of the progress.
inline Json to_json(const StepReport& report) {
  const auto text = [](double value) {
    std::string exact;
    format::append_exact(exact, value);
    return exact;
  };
  return {{"loss", text(report.loss)},
          {"cross_entropy", text(report.cross_entropy)},
          {"gradient_norm", text(report.gradient_norm)},
          {"learning_rate", text(report.learning_rate)},
          {"tokens", report.tokens},
          {"skipped", report.skipped}};
}

/// The text of config.json. Errors: `Error` for what would not be read back as it is, such as an infinite number.
inline std::string checked_config(const Json& config) {
  std::string text;
  try {
    text = config.dump(2) + "\n";
  } catch (const Json::exception&) {
    throw Error("save_checkpoint: the metadata is not valid UTF-8");
  }
  Json difference;
  try {
    difference = Json::diff(config, parse_json(text));
  } catch (const Error& error) {
    throw Error("save_checkpoint: config.json " + std::string(error.what()) + "; store less in it");
  }
  if (!difference.empty())
    throw Error("save_checkpoint: config.json cannot hold '" + difference[0]["path"].get<std::string>() +
                "'; give a finite number");
  return text;
}

/// config.json of a checkpoint. Errors (all members): `FileError` that names the field.
class Config {
 public:
  explicit Config(const std::filesystem::path& directory) : path_(directory / "config.json") {
    const MappedFile file(path_);
    const std::span<const std::byte> bytes = file.bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    try {
      json_ = parse_json(text);
    } catch (const Error& error) {
      refuse(error.what(), damaged);
    }
    checksum_ = text_checksum(text);
    format_ = get<std::int64_t>("format");
    if (format_ > checkpoint_format)
      refuse(
          "is of format " + std::to_string(format_) + ", the newest known here is " + std::to_string(checkpoint_format),
          "use the version of fathom that wrote it, or a newer one");
    if (format_ < 1) refuse("field '/format' is " + std::to_string(format_) + ", which there never was", damaged);
  }

  /// The tensors of that role, from the file that was written with this configuration.
  safetensors::File open(TensorRole role) const {
    safetensors::File file(path_.parent_path() / file_of(role));
    const auto entry = [&](const char* key) {
      const auto found = file.metadata().find(key);
      return found == file.metadata().end() ? std::string() : found->second;
    };
    if (entry(config_checksum_key) != checksum_)
      refuse("does not match the checksum in " + std::string(file_of(role)),
             "one of them is damaged or of another checkpoint: restore both from a copy");
    if (!file.has_checksums()) throw FileError(file.path().string() + ": the checksums are missing; " + damaged);
    if (format_ > 1 && entry(role_key) != name_of(role))
      throw FileError(file.path().string() + ": holds the " + safetensors::detail::quoted(entry(role_key)) +
                      " of the checkpoint where its '" + name_of(role) +
                      "' are needed; restore the checkpoint from a copy");
    return file;
  }

  /// The model must be the one that `expected` describes.
  void require_model(const Json& expected) const {
    Json found = get<Json>("model");
    const char* remedy = "the checkpoint belongs to another model";
    if (format_ == 1) {
      try {
        found = from_format_1(found, expected);
      } catch (const Json::exception&) {
        refuse("field '/model' is not a description of format 1", damaged);
      }
      Json others = found;
      others["logits"] = expected.at("logits");
      compare("model", expected, others, remedy);
      remedy =
          "format 1 knew no factor: put PlainLogits in the model's type, or LOGITS Plain in "
          "fathom_add_language_model";
    }
    compare("model", expected, found, remedy);
  }
  /// A field must be as expected, all of it.
  void require(const std::string& field, const Json& expected) const {
    compare(field, expected, get<Json>(field), "go on with what the run began with");
  }

  /// Numbers are in the range of their type, integers whole.
  template <class T>
  T get(const std::string& field) const {
    const Json* value = nullptr;
    try {
      value = &json_.at(Json::json_pointer("/" + field));
    } catch (const Json::exception&) {
      refuse("field '/" + field + "' is missing", damaged);
    }
    bool fits = true;
    if constexpr (std::is_integral_v<T>)
      fits = value->is_number_unsigned() ? std::in_range<T>(value->get<std::uint64_t>())
                                         : value->is_number_integer() && std::in_range<T>(value->get<std::int64_t>());
    else if constexpr (std::is_floating_point_v<T>)
      fits = value->is_number();
    if (fits) try {
        return value->get<T>();
      } catch (const Json::exception&) {
      }
    refuse("field '/" + field + "' is " + shortened(*value) + ", which it cannot be", damaged);
  }

  SavedProgress progress() const {
    const SavedProgress progress{
        .step = get<std::int64_t>("progress/step"),
        .updates = get<std::int64_t>("progress/updates"),
        .skipped_in_a_row = get<std::int64_t>("progress/skipped_in_a_row"),
        .norms = {.mean = get<double>("progress/norm_mean"), .count = get<std::int64_t>("progress/norm_count")},
        .averaged = get<std::int64_t>("progress/averaged"),
        .best = {.step = get<std::int64_t>("best/step"),
                 .metric = get<double>("best/metric"),
                 .since = get<std::int64_t>("best/since")}};
    if (const auto fault = progress.fault())
      refuse("field '/" + std::string(fault->field) + "' is " + get<Json>(fault->field).dump() + "; it must be " +
                 fault->rule,
             damaged);
    return progress;
  }

  /// The last update, if its validation is still to be made.
  std::optional<StepReport> unvalidated() const {
    if (!json_.contains("unvalidated")) return std::nullopt;
    const auto number = [this](const std::string& field) {
      const auto text = get<std::string>("unvalidated/" + field);
      const auto value = format::parse<double>(text);
      if (!value) refuse("field '/unvalidated/" + field + "' is " + shortened(text) + ", which is no number", damaged);
      return *value;
    };
    const auto tokens = get<std::int64_t>("unvalidated/tokens");
    if (tokens < 0) refuse("field '/unvalidated/tokens' is negative", damaged);
    return StepReport{.step = progress().step,
                      .loss = number("loss"),
                      .cross_entropy = number("cross_entropy"),
                      .gradient_norm = number("gradient_norm"),
                      .learning_rate = number("learning_rate"),
                      .tokens = tokens,
                      .skipped = get<std::string>("unvalidated/skipped")};
  }

 private:
  static constexpr const char* damaged = "the file is damaged or another program's: restore it from a copy";

  [[noreturn]] void refuse(const std::string& what, const std::string& remedy) const {
    throw FileError(path_.string() + ": " + what + "; " + remedy);
  }
  static std::string shortened(const Json& value) {
    const std::string text = value.dump(-1, ' ', true);
    return text.size() <= 200 ? text : text.substr(0, 200) + "…";
  }
  void compare(const std::string& field, const Json& expected, const Json& found, const char* remedy) const {
    const Json difference = Json::diff(expected, found);
    if (difference.empty()) return;
    const std::string inner = difference[0]["path"].get<std::string>();
    const Json::json_pointer place(inner);
    const auto text = [&](const Json& value) { return value.contains(place) ? shortened(value.at(place)) : "absent"; };
    refuse("field '/" + field + inner + "' is " + text(found) + " where " + text(expected) + " is needed", remedy);
  }

  std::filesystem::path path_;
  std::string checksum_;
  std::int64_t format_ = 0;
  Json json_;
};

}  // namespace fathom::inline FATHOM_ABI::detail
