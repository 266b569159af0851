// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/train/checkpoint.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

/// Checkpoints whose checksums are right and whose content is not: what a faulty program could leave.
namespace fathom_test {

using Bytes = std::vector<std::byte>;

/// Writes a tensor file again, with the metadata and tensors that `change` leaves.
inline void rewrite_tensors(
    const std::filesystem::path& path,
    const std::function<void(fathom::safetensors::Metadata&, std::map<std::string, Bytes>&)>& change) {
  using namespace fathom::safetensors;
  Metadata metadata;
  std::map<std::string, Bytes> data;
  std::vector<Tensor> tensors;  // without their bytes, once the file is closed
  {
    const File file(path);
    metadata = file.metadata();
    tensors.assign(file.tensors().begin(), file.tensors().end());
    for (const Tensor& tensor : tensors) data[tensor.name] = {tensor.bytes.begin(), tensor.bytes.end()};
  }
  change(metadata, data);
  Writer writer;
  for (const Tensor& tensor : tensors)
    if (data.contains(tensor.name))
      writer.add(tensor.name, *tensor.dtype, tensor.shape,
                 [&bytes = data[tensor.name]](Writer::Sink& sink) { sink.write(bytes); });
  for (const auto& [key, value] : metadata) writer.set(key, value);
  writer.write(path);
}

/// Writes config.json, and its checksum into the tensor files.
inline void rewrite_config(const std::filesystem::path& checkpoint, const std::string& text) {
  std::ofstream(checkpoint / "config.json", std::ios::binary) << text;
  for (const char* name : {"model.safetensors", "state.safetensors", "average.safetensors"})
    if (std::filesystem::exists(checkpoint / name))
      rewrite_tensors(checkpoint / name,
                      [&](auto& metadata, auto&) { metadata["config"] = fathom::detail::text_checksum(text); });
}

/// The same with one field changed.
inline void rewrite_field(const std::filesystem::path& checkpoint, const std::string& field,
                          const nlohmann::json& value) {
  auto config = nlohmann::json::parse(std::ifstream(checkpoint / "config.json"));
  config[nlohmann::json::json_pointer(field)] = value;
  rewrite_config(checkpoint, config.dump(2));
}

}  // namespace fathom_test
