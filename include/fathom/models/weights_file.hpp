// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/io/atomic_write.hpp>
#include <fathom/io/json.hpp>
#include <fathom/io/safetensors.hpp>
#include <fathom/models/description.hpp>
#include <fathom/models/tensor_file.hpp>
#include <fathom/models/weights.hpp>
#include <filesystem>
#include <string>
#include <vector>

/// A model's weights alone, as one file: what others need to use it.
///
///   save_weights("model.safetensors", trainer.weights());
///   const auto weights = load_weights<Model, Cpu<>>("model.safetensors");
///
/// It is a safetensors file whose tensors are named as in `describe<Model>()`. Its metadata say what the model is, so
/// the tensors of another one are refused where their shapes are the same.
namespace fathom::inline FATHOM_ABI {

namespace detail {

inline constexpr const char* model_key = "model";

/// A description as a text. Errors: `Error` for one that would not be read back as it is.
inline std::string model_text(const Json& model) {
  const std::string text = model.dump();
  if (const std::string difference = difference_of(model_key, model, parse_json(text)); !difference.empty())
    throw Error("save_weights: " + difference + ", and no file can hold that; give a finite number");
  return text;
}

/// Errors: `FileError` for a file of another model, or one that does not say which it is of.
inline void require_model(const safetensors::File& file, const Json& expected) {
  const auto refuse = [&](const std::string& what) { throw FileError(file.path().string() + ": " + what); };
  const auto found = file.metadata().find(model_key);
  if (found == file.metadata().end())
    refuse("does not say which model its weights are of; write it with save_weights, or read a checkpoint as a folder");
  Json model;
  try {
    model = parse_json(found->second);
  } catch (const Error& error) {
    refuse("its description of the model " + std::string(error.what()) + "; restore it from a copy");
  }
  if (const std::string difference = difference_of(model_key, expected, model); !difference.empty())
    refuse(difference + "; the file belongs to another model");
}

}  // namespace detail

/// Writes the weights, in the type that they have, whole or not at all; makes the file's folders. `metadata` is the
/// program's own: texts under keys of its choice, which `safetensors::File` reads. Errors: `FileError` of the disk;
/// `Error` for weights that are not finite, and for the keys "model" and "format". What was there before is still there
/// then.
template <class Model, class B>
void save_weights(const std::filesystem::path& file, const Weights<Model, B>& weights,
                  safetensors::Metadata metadata = {}) {
  for (const char* key : {detail::model_key, "format"})
    if (metadata.contains(key))
      throw Error("save_weights: the metadata '" + std::string(key) + "' are fathom's own; choose another key");
  metadata.emplace(detail::model_key, detail::model_text(detail::describe_model<Model>()));
  detail::replace_file(file, [&](const std::filesystem::path& path) {
    detail::write_tensors<typename Weights<Model, B>::T>(
        path, metadata, weights.flat(), describe<Model>(), [](const std::string& name) {
          throw Error("save_weights: tensor '" + name + "' is not finite, so it is no use; save earlier weights");
        });
  });
}

/// What `save_weights` wrote. At a lower precision than that of the file the weights are rounded. Errors: `FileError`
/// in one line that names the tensor or the field, for a file of another model, a damaged one, and for weights that are
/// not finite.
template <class Model, class B>
Weights<Model, B> load_weights(const std::filesystem::path& file) {
  using T = typename Weights<Model, B>::T;
  constexpr auto rounded = safetensors::Narrowing::round;
  const safetensors::File tensors(file);
  detail::require_model(tensors, detail::describe_model<Model>());
  const std::vector<ParameterInfo> table = describe<Model>();
  detail::check_tensors<T>(tensors, table, rounded);
  Weights<Model, B> weights;
  detail::read_tensors(tensors, weights.flat(), table, rounded);
  return weights;
}

}  // namespace fathom::inline FATHOM_ABI
