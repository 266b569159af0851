// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/core/half.hpp>

namespace emulated {

/// Numbers as memory of the device has them.
enum class Number { bf16, f16, f32, f64, i32, i64 };

constexpr std::size_t bytes_of(Number type) {
  switch (type) {
    case Number::bf16:
    case Number::f16:
      return 2;
    case Number::f32:
    case Number::i32:
      return 4;
    default:
      return 8;
  }
}

constexpr const char* name_of(Number type) {
  constexpr const char* names[] = {"bf16", "fp16", "fp32", "fp64", "int32", "int64"};
  return names[int(type)];
}

/// Element `index` of an array, exactly.
inline double read_number(Number type, const void* array, std::int64_t index) {
  const auto* const at = static_cast<const std::byte*>(array) + index * std::int64_t(bytes_of(type));
  const auto as = [at]<class T>(T value) {
    std::memcpy(&value, at, sizeof value);
    return value;
  };
  switch (type) {
    case Number::bf16:
      return float(as(fathom::Bf16()));
    case Number::f16:
      return float(as(fathom::F16()));
    case Number::f32:
      return double(as(0.f));
    case Number::f64:
      return as(0.0);
    case Number::i32:
      return double(as(std::int32_t{}));
    default:
      return double(as(std::int64_t{}));
  }
}

/// The same for writing, rounded once.
inline void write_number(Number type, void* array, std::int64_t index, double value) {
  auto* const at = static_cast<std::byte*>(array) + index * std::int64_t(bytes_of(type));
  const auto put = [at](const auto& number) { std::memcpy(at, &number, sizeof number); };
  switch (type) {
    case Number::bf16:
      return put(fathom::Bf16(value));
    case Number::f16:
      return put(fathom::F16(value));
    case Number::f32:
      return put(float(value));
    case Number::f64:
      return put(value);
    case Number::i32:
      return put(std::int32_t(value));
    default:
      return put(std::int64_t(value));
  }
}

/// `value` as a number of this type would have it.
inline double rounded_to(Number type, double value) {
  std::byte memory[8];
  write_number(type, memory, 0, value);
  return read_number(type, memory, 0);
}

}  // namespace emulated
