// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "device.hpp"
#include "numbers.hpp"

/// What the parts of the emulated cuBLASLt share.
namespace emulated::blas {

/// Why cuBLASLt does not do something.
struct Refusal {
  cublasStatus_t status;
  std::string text;
};
using Verdict = std::optional<Refusal>;  ///< none: it does

inline Verdict invalid(std::string text) { return Refusal{CUBLAS_STATUS_INVALID_VALUE, std::move(text)}; }
inline Verdict unsupported(std::string text) { return Refusal{CUBLAS_STATUS_NOT_SUPPORTED, std::move(text)}; }

/// A call of the library: counts it, and lets it fail where that is asked for, by `failure`.
template <class F>
cublasStatus_t call(const char* name, cublasStatus_t failure, F&& work) {
  Device& device = Device::get();
  const std::lock_guard lock(device.mutex());
  const bool fails = device.count_call(name);
  return fails || device.sticky() != 0 ? failure : work(device);
}

/// A call that gives something back does so even if it fails.
template <class F>
cublasStatus_t release(const char* name, F&& work) {
  Device& device = Device::get();
  const std::lock_guard lock(device.mutex());
  const bool fails = device.count_call(name);
  const cublasStatus_t status = work(device);
  return status == CUBLAS_STATUS_SUCCESS && fails ? CUBLAS_STATUS_INTERNAL_ERROR : status;
}

struct Layout {
  std::uint32_t type = 0;
  std::int32_t order = CUBLASLT_ORDER_COL;
  std::uint64_t rows = 0, columns = 0;
  std::int64_t ld = 0;
  std::int32_t batch = 1;
  std::int64_t batch_stride = 0;

  std::int64_t at(std::int64_t row, std::int64_t column) const {
    return order == CUBLASLT_ORDER_COL ? row + column * ld : row * ld + column;
  }
  /// Elements from the first to behind the last.
  std::int64_t extent() const {
    return at(std::int64_t(rows) - 1, std::int64_t(columns) - 1) + (batch - 1) * batch_stride + 1;
  }
  friend bool operator==(const Layout&, const Layout&) = default;
};

struct Operation {
  std::int32_t compute = 0, scale = 0;
  std::int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST;
  std::int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N, transpose_c = CUBLAS_OP_N;
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  std::int64_t bias_batch_stride = 0;
  std::int32_t bias_type = -1;
  void* aux = nullptr;
  std::int64_t aux_ld = 0, aux_batch_stride = 0;
  std::int32_t aux_type = -1;
};

struct Preference {
  std::uint32_t search = CUBLASLT_SEARCH_BEST_FIT;
  std::uint64_t workspace = 0;
  std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t alignment[4] = {256, 256, 256, 256};
};

/// What a product is, but for addresses.
struct Problem {
  Operation operation;
  Layout a, b, c, d;
};

/// What is known of an epilogue.
struct Epilogue {
  bool relu, gelu, gradient;  ///< of which function, or its gradient
  bool aux;                   ///< reads or writes the auxiliary matrix
  bool bias, bias_gradient;   ///< of D's rows
  bool sum_a, sum_b;          ///< BGRADA, BGRADB
};
std::optional<Epilogue> epilogue_of(std::uint32_t value);

/// The type of elements; none: not one that is emulated.
std::optional<Number> number_of(std::int64_t cuda_type);

/// Whether cuBLASLt has an algorithm for this, whatever the addresses.
Verdict check(const Problem& problem);

/// The library's object behind a handle; null: none, or not one of this kind.
template <class T>
T* object(Device& device, const void* handle, const char* kind) {
  const auto found = device.handles().find(handle);
  if (found == device.handles().end() || found->second != kind) return nullptr;
  return static_cast<T*>(const_cast<void*>(handle));
}

inline constexpr const char *handle_kind = "handles of cuBLASLt", *operation_kind = "matmul descriptors of cuBLASLt",
                            *layout_kind = "matrix layouts of cuBLASLt", *preference_kind = "preferences of cuBLASLt";

/// Multiplies now, in double from the descriptors. C may be null where beta is 0.
void multiply(const Problem& problem, double alpha, const void* a, const void* b, double beta, const void* c, void* d);

}  // namespace emulated::blas
