// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <fathom/core/error.hpp>
#include <fathom/io/checksum.hpp>
#include <fathom/io/file.hpp>
#include <fathom/report/format.hpp>
#include <fathom/train/checkpoint_config.hpp>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace fathom::inline FATHOM_ABI::detail {

FATHOM_INLINE Json from_format_1(const Json& model, const Json& expected) {
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

FATHOM_INLINE std::string text_checksum(std::string_view text) {
  Checksum checksum;
  checksum.add(text);
  return checksum_text(checksum.value());
}

FATHOM_INLINE std::optional<SavedProgress::Fault> SavedProgress::fault() const {
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

FATHOM_INLINE Json to_json(const SavedProgress& progress) {
  return {{"step", progress.step},
          {"updates", progress.updates},
          {"skipped_in_a_row", progress.skipped_in_a_row},
          {"norm_mean", progress.norms.mean},
          {"norm_count", progress.norms.count},
          {"averaged", progress.averaged}};
}

FATHOM_INLINE Json to_json(const StepReport& report) {
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

FATHOM_INLINE std::string checked_config(const Json& config) {
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

FATHOM_INLINE Config::Config(const std::filesystem::path& directory) : path_(directory / "config.json") {
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

FATHOM_INLINE safetensors::File Config::open(TensorRole role) const {
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

FATHOM_INLINE void Config::require_model(const Json& expected) const {
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

FATHOM_INLINE SavedProgress Config::progress() const {
  const SavedProgress progress{
      .step = get<std::int64_t>("progress/step"),
      .updates = get<std::int64_t>("progress/updates"),
      .skipped_in_a_row = get<std::int64_t>("progress/skipped_in_a_row"),
      .norms = {.mean = get<double>("progress/norm_mean"), .count = get<std::int64_t>("progress/norm_count")},
      .averaged = get<std::int64_t>("progress/averaged"),
      .best = {.step = get<std::int64_t>("best/step"),
               .metric = get<double>("best/metric"),
               .since = get<std::int64_t>("best/since")}};
  if (const auto fault = progress.fault()) refuse_field(std::string(fault->field), fault->rule);
  return progress;
}

FATHOM_INLINE std::optional<StepReport> Config::unvalidated() const {
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

FATHOM_INLINE void Config::refuse(const std::string& what, const std::string& remedy) const {
  throw FileError(path_.string() + ": " + what + "; " + remedy);
}

FATHOM_INLINE void Config::compare(const std::string& field, const Json& expected, const Json& found,
                                   const char* remedy) const {
  const std::string difference = difference_of(field, expected, found);
  if (!difference.empty()) refuse(difference, remedy);
}

}  // namespace fathom::inline FATHOM_ABI::detail
