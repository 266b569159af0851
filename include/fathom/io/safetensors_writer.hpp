// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/checksum.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/safetensors_format.hpp>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::safetensors {

/// Collects tensors and writes them as a safetensors file. The order in the file is that of `add`, but wider elements
/// come first, so that every tensor is aligned to its element; equal calls give equal bytes.
class Writer {
 public:
  /// Takes a tensor's bytes in as many pieces as the source likes.
  class Sink {
   public:
    void write(std::span<const std::byte> bytes) {
      file_.write(bytes);
      checksum_.add(bytes);
    }

   private:
    friend Writer;
    Sink(OutputFile& file, Checksum checksum) : file_(file), checksum_(checksum) {}
    OutputFile& file_;
    Checksum checksum_;
  };
  using Source = std::function<void(Sink&)>;

  /// A text of the metadata. Keys that start with "fathom." are the library's.
  void set(std::string key, std::string value) { metadata_.insert_or_assign(std::move(key), std::move(value)); }

  /// A tensor that is called for its bytes while the file is written.
  /// Errors: `Error` for a name that was added before or is reserved; `ShapeError` for an extent below zero.
  void add(std::string name, Dtype dtype, Shape shape, Source source) {
    std::int64_t bytes = 0;
    if (!detail::byte_count(shape, facts(dtype).size, bytes))
      throw ShapeError("safetensors: tensor " + detail::quoted(name) + " cannot have shape " + detail::text(shape));
    if (name == detail::metadata_name || !names_.insert(name).second)
      throw Error("safetensors: a tensor cannot be named " + detail::quoted(name) +
                  (name == detail::metadata_name ? ", the name is reserved" : ", another one is"));
    const auto width = [](const Entry& entry) { return facts(entry.dtype).size; };
    entries_.insert(std::ranges::upper_bound(entries_, facts(dtype).size, std::greater{}, width),
                    {std::move(name), dtype, std::move(shape), bytes, std::move(source), 0});
  }

  /// A tensor in memory, which must stay as it is until the file is written.
  template <Element T>
  void add(std::string name, Shape shape, std::span<const T> data) {
    std::int64_t bytes = 0;
    if (!detail::byte_count(shape, sizeof(T), bytes) || bytes != static_cast<std::int64_t>(data.size_bytes()))
      throw ShapeError("safetensors: tensor " + detail::quoted(name) + " of shape " + detail::text(shape) +
                       " is given " + std::to_string(data.size()) + " elements");
    add(std::move(name), dtype_of<T>, std::move(shape), [data](Sink& sink) { sink.write(std::as_bytes(data)); });
  }

  /// Writes and syncs the file. To replace one in use, write into an `AtomicDirectory`.
  /// Errors: `FileError` when the disk refuses; `Error` when a source gives another number of bytes than its shape.
  void write(const std::filesystem::path& path) {
    OutputFile file(path);
    // The header is written twice: its length is known now, its checksums when the data has passed. Until then the file
    // starts with zeros, which no reader accepts.
    const std::string blank(header().size(), '\0');
    file.write(blank);
    for (Entry& entry : entries_) {
      const std::uint64_t begin = file.size();
      Sink sink(file, detail::checksum_of(entry.name, facts(entry.dtype).name, entry.shape));
      entry.source(sink);
      if (file.size() - begin != static_cast<std::uint64_t>(entry.bytes))
        throw Error("safetensors: the source of tensor " + detail::quoted(entry.name) + " gave " +
                    std::to_string(file.size() - begin) + " bytes, its shape " + detail::text(entry.shape) + " needs " +
                    std::to_string(entry.bytes));
      entry.checksum = sink.checksum_.value();
    }
    const std::string header_text = header();
    file.write_at(0, std::as_bytes(std::span(header_text)));
    file.close();
  }

 private:
  struct Entry {
    std::string name;
    Dtype dtype;
    Shape shape;
    std::int64_t bytes;
    Source source;
    std::uint64_t checksum;
  };

  /// Length and JSON, as they stand at the start of the file.
  std::string header() const try {
    const auto json = [](std::string_view text) { return nlohmann::json(text).dump(); };
    std::string checksums = checksum_text(detail::checksum_of(metadata_).value());
    for (const Entry& entry : entries_) checksums += " " + checksum_text(entry.checksum);

    std::string text(sizeof(std::uint64_t), '\0');
    text += "{\"__metadata__\":{";
    for (const auto& [key, value] : metadata_) text += json(key) + ":" + json(value) + ",";
    text += json(detail::checksums_key) + ":" + json(checksums) + "}";
    std::int64_t offset = 0;
    for (const Entry& entry : entries_) {
      const Shape offsets{offset, offset + entry.bytes};
      offset = offsets[1];
      text += "," + json(entry.name) + ":{\"dtype\":" + json(facts(entry.dtype).name) +
              ",\"shape\":" + nlohmann::json(entry.shape).dump() +
              ",\"data_offsets\":" + nlohmann::json(offsets).dump() + "}";
    }
    text += "}";
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = text.size() - sizeof length;
    std::memcpy(text.data(), &length, sizeof length);
    return text;
  } catch (const nlohmann::json::exception&) {
    throw Error("safetensors: a tensor's name or the metadata is not valid UTF-8");
  }

  Metadata metadata_;
  std::vector<Entry> entries_;
  std::set<std::string, std::less<>> names_;
};

}  // namespace fathom::inline FATHOM_ABI::safetensors
