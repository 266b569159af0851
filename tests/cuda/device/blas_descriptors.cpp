// SPDX-License-Identifier: Apache-2.0
// cuBLASLt's handles, descriptors and their attributes.
#include <cstring>
#include <string>

#include "blas.hpp"

using namespace emulated;
using namespace emulated::blas;

namespace {

struct Library {};  // what a handle points to

struct Attribute {
  void* at = nullptr;
  std::size_t bytes = 0;
};
template <class T>
Attribute attribute(T& value) {
  return {&value, sizeof value};
}

Attribute find(Layout& layout, int which) {
  switch (which) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return attribute(layout.type);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return attribute(layout.order);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return attribute(layout.rows);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return attribute(layout.columns);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return attribute(layout.ld);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return attribute(layout.batch);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return attribute(layout.batch_stride);
    default:
      return {};
  }
}

Attribute find(Operation& operation, int which) {
  switch (which) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return attribute(operation.compute);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return attribute(operation.scale);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return attribute(operation.pointer_mode);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return attribute(operation.transpose_a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return attribute(operation.transpose_b);
    case CUBLASLT_MATMUL_DESC_TRANSC:
      return attribute(operation.transpose_c);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return attribute(operation.epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return attribute(operation.bias);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
      return attribute(operation.bias_batch_stride);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return attribute(operation.bias_type);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return attribute(operation.aux);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return attribute(operation.aux_ld);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE:
      return attribute(operation.aux_batch_stride);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE:
      return attribute(operation.aux_type);
    default:
      return {};
  }
}

Attribute find(Preference& preference, int which) {
  switch (which) {
    case CUBLASLT_MATMUL_PREF_SEARCH_MODE:
      return attribute(preference.search);
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return attribute(preference.workspace);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return attribute(preference.reductions);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return attribute(preference.alignment[0]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return attribute(preference.alignment[1]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return attribute(preference.alignment[2]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return attribute(preference.alignment[3]);
    default:
      return {};
  }
}

template <class T, class Handle>
cublasStatus_t create(const char* name, const char* kind, Handle* handle, const T& initial) {
  return call(name, CUBLAS_STATUS_ALLOC_FAILED, [&](Device& device) {
    T* const made = new T(initial);
    device.handles().emplace(made, kind);
    *handle = reinterpret_cast<Handle>(made);
    return CUBLAS_STATUS_SUCCESS;
  });
}

template <class T>
cublasStatus_t destroy(const char* name, const char* kind, const void* handle) {
  return release(name, [&](Device& device) {
    T* const found = object<T>(device, handle, kind);
    if (found == nullptr) {
      device.mistake(std::string(name) + ": no such descriptor, or it was destroyed");
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    device.handles().erase(handle);
    delete found;
    return CUBLAS_STATUS_SUCCESS;
  });
}

template <class T>
cublasStatus_t set(const char* name, const char* kind, const void* handle, int which, const void* value,
                   std::size_t bytes) {
  return call(name, CUBLAS_STATUS_INTERNAL_ERROR, [&](Device& device) {
    T* const found = object<T>(device, handle, kind);
    const Attribute attribute = found == nullptr ? Attribute{} : find(*found, which);
    if (attribute.at == nullptr || value == nullptr || bytes != attribute.bytes) {
      device.mistake(std::string(name) + ", attribute " + std::to_string(which) +
                     (found == nullptr ? ": no such descriptor, or it was destroyed"
                      : attribute.at == nullptr
                          ? ": it is not emulated"
                          : ": \"buf is NULL or sizeInBytes doesn't match size of internal storage "
                            "for selected attribute\""));
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    std::memcpy(attribute.at, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  });
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (Device::get().settings().devices == 0) return CUBLAS_STATUS_NOT_INITIALIZED;
  return create("cublasLtCreate", handle_kind, handle, Library{});
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return destroy<Library>("cublasLtDestroy", handle_kind, handle);
}
size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "CUBLAS_STATUS_UNKNOWN";
  }
}
/// The name, and behind it what the emulated device found wrong last.
const char* cublasLtGetStatusString(cublasStatus_t status) {
  const auto& mistakes = Device::get().mistakes();
  if (status == CUBLAS_STATUS_SUCCESS || mistakes.empty()) return cublasLtGetStatusName(status);
  static thread_local std::string whole;
  whole = std::string(cublasLtGetStatusName(status)) + " (emulated device: " + mistakes.back() + ")";
  return whole.c_str();
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* handle, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  Layout layout;
  layout.type = std::uint32_t(type);
  layout.rows = rows;
  layout.columns = columns;
  layout.ld = ld;
  return create("cublasLtMatrixLayoutCreate", layout_kind, handle, layout);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy<Layout>("cublasLtMatrixLayoutDestroy", layout_kind, layout);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t which,
                                                const void* value, size_t bytes) {
  return set<Layout>("cublasLtMatrixLayoutSetAttribute", layout_kind, layout, which, value, bytes);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* handle, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  Operation operation;
  operation.compute = compute;
  operation.scale = scale;
  return create("cublasLtMatmulDescCreate", operation_kind, handle, operation);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  return destroy<Operation>("cublasLtMatmulDescDestroy", operation_kind, operation);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t which,
                                              const void* value, size_t bytes) {
  return set<Operation>("cublasLtMatmulDescSetAttribute", operation_kind, operation, which, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* handle) {
  return create("cublasLtMatmulPreferenceCreate", preference_kind, handle, Preference{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy<Preference>("cublasLtMatmulPreferenceDestroy", preference_kind, preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t which, const void* value,
                                                    size_t bytes) {
  return set<Preference>("cublasLtMatmulPreferenceSetAttribute", preference_kind, preference, which, value, bytes);
}
