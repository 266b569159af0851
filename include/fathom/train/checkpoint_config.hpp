// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/io/json.hpp>
#include <fathom/io/safetensors_reader.hpp>
#include <fathom/models/description.hpp>
#include <fathom/train/options_json.hpp>
#include <fathom/train/run.hpp>
#include <fathom/train/trainer.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/// config.json of a checkpoint: what it says and how it is read. Format 2, whose choices are words; what format 1 said
/// is read as format 2 says it.
namespace fathom::inline FATHOM_ABI::detail {

inline constexpr int checkpoint_format = 2;

/// `model` as format 1 described it, in the words of format 2. What format 1 did not say is taken from `expected`.
/// Errors: `Json::exception` for a description that is not one of format 1.
Json from_format_1(const Json& model, const Json& expected);

std::string text_checksum(std::string_view text);

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
  std::optional<Fault> fault() const;
};

Json to_json(const SavedProgress& progress);
/// Its numbers are text, because those of a skipped update may be NaN; its step is that of the progress.
Json to_json(const StepReport& report);

/// The text of config.json. Errors: `Error` for what would not be read back as it is, such as an infinite number.
std::string checked_config(const Json& config);

/// config.json of a checkpoint. Errors (all members): `FileError` that names the field.
class Config {
 public:
  explicit Config(const std::filesystem::path& directory);

  /// The tensors of that role, from the file that was written with this configuration.
  safetensors::File open(TensorRole role) const;

  /// The model must be the one that `expected` describes.
  void require_model(const Json& expected) const;
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

  /// A field is not what it must be, which `rule` says.
  [[noreturn]] void refuse_field(const std::string& field, const std::string& rule) const {
    refuse("field '/" + field + "' is " + shortened(get<Json>(field)) + "; it must be " + rule, damaged);
  }

  SavedProgress progress() const;

  /// The last update, if its validation is still to be made.
  std::optional<StepReport> unvalidated() const;

 private:
  static constexpr const char* damaged = "the file is damaged or another program's: restore it from a copy";

  [[noreturn]] void refuse(const std::string& what, const std::string& remedy) const;
  void compare(const std::string& field, const Json& expected, const Json& found, const char* remedy) const;

  std::filesystem::path path_;
  std::string checksum_;
  std::int64_t format_ = 0;
  Json json_;
};

}  // namespace fathom::inline FATHOM_ABI::detail

#if !defined(FATHOM_COMPILED)
#include <fathom/train/checkpoint_config_inl.hpp>
#endif
