// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <fathom/core/config.hpp>
#include <fathom/core/half.hpp>
#include <fathom/io/checksum.hpp>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

/// Named tensors in a file, in the layout of https://github.com/huggingface/safetensors:
///
///   8 bytes   length n of the header, little endian
///   n bytes   JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …,
///             "__metadata__": {"key": "text", …}}, filled up with spaces to a multiple of 8
///   the rest  the tensors, row-major, little endian, without gaps
///
/// Files that fathom writes carry a checksum of every tensor (its name, type, shape and data) and of the metadata. It
/// stands in the metadata, where other readers of the format do not mind it.

namespace fathom::inline FATHOM_ABI::safetensors {

static_assert(std::endian::native == std::endian::little, "safetensors: the file is little endian, the machine is not");

/// The element types of the format that are read and written.
enum class Dtype { f64, f32, f16, bf16, i64, i32, u64, u32, u8 };

struct DtypeFacts {
  std::string_view name;  ///< in the file
  int size;               ///< bytes of an element
};
inline constexpr std::array<DtypeFacts, 9> dtypes{
    {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"U64", 8}, {"U32", 4}, {"U8", 1}}};
/// Those of the format whose values are not read; their sizes are known. A file may hold others.
inline constexpr std::array<DtypeFacts, 8> unread_dtypes{
    {{"I16", 2}, {"U16", 2}, {"I8", 1}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"C64", 8}}};
constexpr const DtypeFacts& facts(Dtype dtype) { return dtypes[static_cast<std::size_t>(dtype)]; }

/// The C++ types that are elements as they stand.
template <class T>
concept Element = Number<T> || std::same_as<T, std::int64_t> || std::same_as<T, std::int32_t> ||
    std::same_as<T, std::uint64_t> || std::same_as<T, std::uint32_t> || std::same_as<T, std::uint8_t>;

template <Element T>
inline constexpr Dtype dtype_of = std::same_as<T, Bf16>         ? Dtype::bf16
                                  : std::same_as<T, F16>        ? Dtype::f16
                                  : std::is_floating_point_v<T> ? (sizeof(T) == 8 ? Dtype::f64 : Dtype::f32)
                                  : std::is_signed_v<T>         ? (sizeof(T) == 8 ? Dtype::i64 : Dtype::i32)
                                  : sizeof(T) == 8              ? Dtype::u64
                                  : sizeof(T) == 4              ? Dtype::u32
                                                                : Dtype::u8;

using Shape = std::vector<std::int64_t>;
using Metadata = std::map<std::string, std::string, std::less<>>;

namespace detail {

inline constexpr std::uint64_t longest_header = 100'000'000;  // as in the reference implementation
inline constexpr std::string_view metadata_name = "__metadata__";
inline constexpr std::string_view checksums_key = "fathom.checksums";

/// "[2, 3]"
inline std::string text(std::span<const std::int64_t> shape) {
  std::string result = "[";
  for (const std::int64_t extent : shape) result += (result.size() > 1 ? ", " : "") + std::to_string(extent);
  return result + "]";
}

/// A name from a file, fit for a one-line message.
inline std::string quoted(std::string_view name) {
  std::string result = "'";
  for (const char c : name.substr(0, 200)) result += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  return result + "'";
}

/// Bytes of a tensor of this shape whose elements have `size`; false where that is not a number of 63 bits.
inline bool byte_count(std::span<const std::int64_t> shape, int size, std::int64_t& bytes) {
  bytes = size;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) return false;
  }
  return true;
}

inline Checksum checksum_of(std::string_view name, std::string_view dtype, std::span<const std::int64_t> shape) {
  Checksum checksum;
  checksum.add(name);
  checksum.add(dtype);
  for (const std::int64_t extent : shape) checksum.add(extent);
  return checksum;
}

inline Checksum checksum_of(const Metadata& metadata) {
  Checksum checksum;
  for (const auto& [key, value] : metadata) {
    for (const std::string_view part : {std::string_view(key), std::string_view(value)}) {
      checksum.add(static_cast<std::int64_t>(part.size()));
      checksum.add(part);
    }
  }
  return checksum;
}

}  // namespace detail

}  // namespace fathom::inline FATHOM_ABI::safetensors
