// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/half.hpp>
#include <fathom/io/file.hpp>
#include <fathom/io/foreign_file.hpp>
#include <fathom/io/safetensors_format.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::safetensors {

/// A tensor of a mapped file. `bytes` need not be aligned to the element.
struct Tensor {
  std::string name;
  std::string dtype_name;      ///< in the file
  std::optional<Dtype> dtype;  ///< none: of a type that is not read
  Shape shape;
  std::span<const std::byte> bytes;

  std::int64_t elements() const {
    std::int64_t count = 0;
    detail::byte_count(shape, 1, count);
    return count;
  }
};

/// What `File::read` may do to a value that the asked type cannot hold.
enum class Narrowing { refuse, round };

/// A safetensors file, mapped and checked.
///
/// Errors (all members): `FileError` that names the file, the tensor or field, what is wrong and what to do. Opening
/// checks the whole header: its length, JSON without duplicate or unknown fields, and that the tensors' sizes follow
/// from their shapes and fill the file without gap, overlap or rest. Reading a tensor checks its checksum where the
/// file has them. A tensor of a type that is not read is no error before it is asked for; of a type that is not known
/// the size cannot be checked.
class File {
 public:
  explicit File(const std::filesystem::path& path) : file_(path) { parse(); }

  /// In the order of their data.
  std::span<const Tensor> tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }
  /// Whether it can be seen that a tensor is damaged, as in every file that fathom writes.
  bool has_checksums() const { return !checksums_.empty(); }
  const std::filesystem::path& path() const { return file_.path(); }

  /// Null when there is none of that name.
  const Tensor* find(std::string_view name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &tensors_[found->second];
  }
  const Tensor& at(std::string_view name) const {
    if (const Tensor* const tensor = find(name)) return *tensor;
    throw FileError(path().string() + ": tensor " + detail::quoted(name) +
                    " is missing; the file belongs to another model");
  }

  /// Copies a tensor into `out`, which is overwritten and must have as many elements as `shape`. Widens F16, BF16 and
  /// F32 to wider floating-point types; rounds to others, once and to nearest, only with `Narrowing::round`; integers
  /// are read as they are.
  template <Element T>
  void read(std::string_view name, std::span<const std::int64_t> shape, std::span<T> out,
            Narrowing narrowing = Narrowing::refuse) const {
    const Tensor& tensor = at(name);
    if (!std::ranges::equal(tensor.shape, shape))
      refuse(tensor, "has shape " + detail::text(tensor.shape) + " where " + detail::text(shape) + " is needed",
             "the file belongs to another model");
    if (static_cast<std::int64_t>(out.size()) != tensor.elements())
      throw ShapeError("safetensors: " + std::to_string(out.size()) + " elements cannot take tensor " +
                       detail::quoted(name) + " of shape " + detail::text(shape));
    verify(tensor);
    if (!tensor.dtype) {
      std::string read;
      for (const DtypeFacts& known : dtypes) read += (read.empty() ? "" : ", ") + std::string(known.name);
      refuse(tensor, "is " + detail::quoted(tensor.dtype_name) + ", a type that is not read",
             "convert it to one of " + read);
    }
    if (!convert(tensor, *tensor.dtype, out, narrowing))
      refuse(tensor, "is " + tensor.dtype_name + ", which " + std::string(facts(dtype_of<T>).name) + " cannot hold",
             "read it at the precision it was written with");
  }

  /// Compares a tensor with its checksum, where the file has them.
  void verify(const Tensor& tensor) const {
    if (!has_checksums()) return;
    Checksum checksum = detail::checksum_of(tensor.name, tensor.dtype_name, tensor.shape);
    checksum.add(tensor.bytes);
    if (checksum_text(checksum.value()) != recorded_checksum(1 + static_cast<std::size_t>(&tensor - tensors_.data())))
      refuse(tensor, "does not match its checksum", damaged);
  }

 private:
  using Json = nlohmann::json;
  static constexpr const char* damaged = "the file is damaged: restore it from a copy";

  [[noreturn]] void refuse(const std::string& what, const std::string& remedy = damaged) const {
    throw FileError(path().string() + ": " + what + "; " + remedy);
  }
  [[noreturn]] void refuse(const Tensor& tensor, const std::string& what, const std::string& remedy = damaged) const {
    refuse("tensor " + detail::quoted(tensor.name) + " " + what, remedy);
  }

  /// Says what the file is instead, where its first bytes tell.
  [[noreturn]] void refuse_beginning(const std::string& what, const std::string& remedy = damaged) const {
    const std::string_view bytes(reinterpret_cast<const char*>(file_.bytes().data()), file_.bytes().size());
    const bool begins_json = bytes.size() > sizeof(std::uint64_t) && bytes[sizeof(std::uint64_t)] == '{';
    const std::string known = begins_json ? "" : foreign_file(bytes);  // else it is one of safetensors, but damaged
    if (!known.empty()) throw FileError(path().string() + ": " + known);
    refuse(what, remedy);
  }

  void parse() {
    const std::span<const std::byte> bytes = file_.bytes();
    std::uint64_t length = 0;
    if (bytes.size() < sizeof length)
      refuse_beginning("has " + std::to_string(bytes.size()) + " bytes, too few for a safetensors file");
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > detail::longest_header)
      refuse_beginning("header length " + std::to_string(length) + " exceeds the format's limit of " +
                           std::to_string(detail::longest_header),
                       "this is not a safetensors file");
    if (length > bytes.size() - sizeof length)
      refuse_beginning("header of " + std::to_string(length) + " bytes is cut off at " +
                       std::to_string(bytes.size() - sizeof length));
    const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
    if (!header.starts_with('{')) refuse_beginning("header does not start with '{'", "this is not a safetensors file");
    if (header.find('\0') != header.npos) refuse("header has a zero byte");  // which would end the JSON for its parser

    const Json root = parse_json(header);
    for (const auto& [name, value] : root.items()) {
      if (name == detail::metadata_name) {
        parse_metadata(value);
      } else {
        parse_tensor(name, value);
      }
    }
    place(bytes.subspan(sizeof length + length));
    take_checksums();
  }

  /// Refuses what a tree cannot show afterwards: duplicate names, and depths that the format does not have.
  Json parse_json(std::string_view header) const {
    std::set<std::string> names, fields;
    const auto watch = [&](int depth, Json::parse_event_t event, const Json& parsed) {
      using Event = Json::parse_event_t;
      if ((event == Event::object_start && depth > 1) || (event == Event::array_start && depth > 2))
        refuse("header is nested too deeply");
      if (event == Event::object_start) fields.clear();
      if (event == Event::key) {
        const std::string& name = parsed.get_ref<const std::string&>();
        if (!(depth == 1 ? names : fields).insert(name).second) refuse("header has " + detail::quoted(name) + " twice");
      }
      return true;
    };
    try {
      return Json::parse(header, watch);
    } catch (const Json::parse_error& error) {
      refuse("header is not valid JSON at byte " + std::to_string(error.byte));
    } catch (const Json::exception&) {
      refuse("header holds a number that is out of range");
    }
  }

  void parse_metadata(const Json& value) {
    if (!value.is_object()) refuse("field '__metadata__' is not an object");
    for (const auto& [key, item] : value.items()) {
      if (!item.is_string()) refuse("metadata " + detail::quoted(key) + " is not a text");
      metadata_.emplace(key, item.get_ref<const std::string&>());
    }
  }

  /// Takes name, dtype and shape; `bytes` gets its length, and for now the offset in place of the address.
  void parse_tensor(const std::string& name, const Json& value) {
    Tensor tensor{name, {}, {}, {}, {}};
    if (!value.is_object()) refuse(tensor, "is not described by an object");
    for (const auto& [field, item] : value.items()) {
      if (field != "dtype" && field != "shape" && field != "data_offsets")
        refuse(tensor, "has the unknown field " + detail::quoted(field));
    }
    const auto field = [&](const char* key) -> const Json& {
      const auto found = value.find(key);
      if (found == value.end()) refuse(tensor, "has no field '" + std::string(key) + "'");
      return *found;
    };
    const auto numbers = [&](const char* key) {
      const Json& array = field(key);
      Shape result;
      if (!array.is_array()) refuse(tensor, "has a '" + std::string(key) + "' that is not an array");
      for (const Json& number : array) {
        if (!number.is_number_unsigned() || number.get<std::uint64_t>() > INT64_MAX)
          refuse(tensor, "has a '" + std::string(key) + "' entry that is not a whole number from 0 to 2^63 - 1");
        result.push_back(number.get<std::int64_t>());
      }
      return result;
    };

    const Json& dtype = field("dtype");
    if (!dtype.is_string()) refuse(tensor, "has a 'dtype' that is not a text");
    tensor.dtype_name = dtype.get_ref<const std::string&>();
    const auto known = std::ranges::find(dtypes, tensor.dtype_name, &DtypeFacts::name);
    const auto unread = std::ranges::find(unread_dtypes, tensor.dtype_name, &DtypeFacts::name);
    if (known != dtypes.end()) tensor.dtype = static_cast<Dtype>(known - dtypes.begin());
    const int size = known != dtypes.end() ? known->size : unread != unread_dtypes.end() ? unread->size : 0;
    tensor.shape = numbers("shape");
    const Shape offsets = numbers("data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1]) refuse(tensor, "has no valid 'data_offsets'");
    std::int64_t needed = 0;
    const bool fits =
        detail::byte_count(tensor.shape, std::max(size, 1), needed) && (size == 0 || needed == offsets[1] - offsets[0]);
    if (!fits)
      refuse(tensor, "has 'data_offsets' " + detail::text(offsets) + " that do not fit shape " +
                         detail::text(tensor.shape) + " of " + detail::quoted(tensor.dtype_name));
    ranges_.push_back({offsets[0], offsets[1], tensors_.size()});
    tensors_.push_back(std::move(tensor));
  }

  /// Sorts the tensors by their place and gives each its bytes of `data`.
  void place(std::span<const std::byte> data) {
    std::ranges::sort(ranges_);
    std::vector<Tensor> sorted;
    sorted.reserve(tensors_.size());
    std::int64_t offset = 0;
    const std::int64_t size = static_cast<std::int64_t>(data.size());
    for (const auto& [begin, end, unsorted] : ranges_) {
      Tensor& tensor = sorted.emplace_back(std::move(tensors_[unsorted]));
      if (begin != offset)
        refuse(tensor, "starts at byte " + std::to_string(begin) + " where the one before it ends at " +
                           std::to_string(offset));
      if (end > size)
        refuse(tensor,
               "ends at byte " + std::to_string(end) + " of the data, which is cut off at " + std::to_string(size));
      tensor.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
      index_.emplace(tensor.name, sorted.size() - 1);
      offset = end;
    }
    if (offset != size) refuse("has " + std::to_string(size - offset) + " bytes after the last tensor");
    tensors_ = std::move(sorted);
  }

  void take_checksums() {
    const auto entry = metadata_.find(detail::checksums_key);
    if (entry == metadata_.end()) return;
    checksums_ = std::move(entry->second);
    metadata_.erase(entry);
    constexpr std::size_t stride = checksum_digits + 1;
    bool fits = checksums_.size() == (tensors_.size() + 1) * stride - 1;
    for (std::size_t end = stride - 1; fits && end < checksums_.size(); end += stride) fits = checksums_[end] == ' ';
    if (!fits) refuse("has checksums that do not fit its tensors");
    if (checksum_text(detail::checksum_of(metadata_).value()) != recorded_checksum(0))
      refuse("has metadata that does not match its checksum");
  }

  /// Entry 0 is the metadata's, entry 1 + i that of tensor i.
  std::string_view recorded_checksum(std::size_t entry) const {
    return std::string_view(checksums_).substr(entry * (checksum_digits + 1), checksum_digits);
  }

  template <class T>
  static bool convert(const Tensor& tensor, Dtype dtype, std::span<T> out, Narrowing narrowing) {
    if (dtype == dtype_of<T>) {
      std::ranges::copy(tensor.bytes, std::as_writable_bytes(out).begin());
      return true;
    }
    if constexpr (Number<T>) {
      const auto each = [&]<class Stored>(Stored stored) {
        if (sizeof(T) <= sizeof stored && narrowing != Narrowing::round) return false;
        for (std::size_t i = 0; i < out.size(); ++i) {
          std::memcpy(&stored, tensor.bytes.data() + i * sizeof stored, sizeof stored);
          out[i] = rounded<T>(stored);
        }
        return true;
      };
      switch (dtype) {
        case Dtype::f16:
          return each(F16{});
        case Dtype::bf16:
          return each(Bf16{});
        case Dtype::f32:
          return each(float{});
        case Dtype::f64:
          return each(double{});
        default:
          return false;
      }
    }
    return false;
  }

  MappedFile file_;
  std::vector<Tensor> tensors_;
  std::vector<std::tuple<std::int64_t, std::int64_t, std::size_t>> ranges_;
  std::map<std::string, std::size_t, std::less<>> index_;
  Metadata metadata_;
  std::string checksums_;
};

}  // namespace fathom::inline FATHOM_ABI::safetensors
