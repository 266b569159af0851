// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/io/safetensors.hpp>
#include <fathom/models/weights.hpp>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

/// Tables of tensors, which lie in a flat buffer of any machine, to files and back.
namespace fathom::inline FATHOM_ABI::detail {

/// The shape of a table's entry in a file: that of a parameter which is a vector has one extent.
safetensors::Shape shape_of(const auto& entry) {
  if constexpr (requires { entry.is_vector(); })
    if (entry.is_vector()) return {entry.columns};
  return {entry.rows, entry.columns};
}

/// Writes the tensors of a table, which are of type T. Calls `refuse(name)`, which throws, for one that is not finite:
/// it could not be read back. Errors: `FileError` of the disk.
template <class T, class Memory, class Table, class Refuse>
void write_tensors(const std::filesystem::path& path, const safetensors::Metadata& metadata, const Memory& flat,
                   const Table& table, Refuse&& refuse) {
  std::vector<T> values;
  const auto read = [&](const auto& entry) {
    values.resize(std::size_t(entry.size()));
    flat.download(entry.offset, std::span<T>(values));
    return std::span<const T>(values);
  };
  safetensors::Writer writer;
  for (const auto& [key, value] : metadata) writer.set(key, value);
  writer.set("format", "pt");  // what other readers expect of a file whose matrices are (out, in)
  for (const auto& entry : table) {
    if (!all_finite(read(entry))) refuse(entry.name);
    writer.add(entry.name, safetensors::dtype_of<T>, shape_of(entry),
               [&](safetensors::Writer::Sink& sink) { sink.write(std::as_bytes(read(entry))); });
  }
  writer.write(path);
}

/// Reads every tensor of the table without keeping it, and refuses values that are not finite and tensors that the
/// table lacks.
template <class T, class Table>
void check_tensors(const safetensors::File& file, const Table& table, safetensors::Narrowing narrowing) {
  std::vector<T> scratch;
  for (const auto& entry : table) {
    scratch.resize(std::size_t(entry.size()));
    file.read(entry.name, shape_of(entry), std::span<T>(scratch), narrowing);
    if (!all_finite(std::span<const T>(scratch)))
      throw FileError(file.path().string() + ": tensor '" + entry.name +
                      "' is not finite; use an earlier file, or restore this one from a copy");
  }
  if (file.tensors().size() == table.size()) return;
  for (const safetensors::Tensor& tensor : file.tensors())
    if (std::ranges::find(table, tensor.name, [](const auto& entry) { return entry.name; }) == table.end())
      throw FileError(file.path().string() + ": tensor '" + tensor.name +
                      "' has no place; the file belongs to another model");
}

template <class Memory, class Table>
void read_tensors(const safetensors::File& file, Memory& flat, const Table& table, safetensors::Narrowing narrowing) {
  std::vector<std::remove_cvref_t<decltype(*flat.data())>> values;
  for (const auto& entry : table) {
    values.resize(std::size_t(entry.size()));
    file.read(entry.name, shape_of(entry), std::span(values), narrowing);
    write_tensor(flat, entry, values);
  }
}

}  // namespace fathom::inline FATHOM_ABI::detail
