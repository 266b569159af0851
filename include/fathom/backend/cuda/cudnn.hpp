// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <fathom/backend/cuda/error.hpp>
#include <fathom/core/config.hpp>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace fathom::inline FATHOM_ABI::cuda {

/// cuDNN can do something and has nothing for what it is asked for.
class CudnnNotSupported : public CudaError {
 public:
  using CudaError::CudaError;
};

/// Errors: CudaError, with the call, its status and what cuDNN says of it.
inline void check(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char text[512] = {};
  cudnnGetLastErrorString(text, sizeof text);
  const std::string message = std::string(call) + ": " + cudnnGetErrorString(status) + ": " + text;
  if (status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000) throw CudnnNotSupported(message);
  throw CudaError(message);
}

/// A descriptor of cuDNN's backend API. Copies are the same descriptor.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t made = nullptr;
    check(cudnnBackendCreateDescriptor(type, &made), "cudnnBackendCreateDescriptor");
    handle_ = {made, [](void* handle) { cudnnBackendDestroyDescriptor(handle); }};
  }

  cudnnBackendDescriptor_t get() const { return handle_.get(); }

  /// Sets an attribute; its type in the API follows from that of the values.
  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    check(cudnnBackendSetAttribute(get(), name, type_of<T>(), std::int64_t(values.size()), values.data()),
          "cudnnBackendSetAttribute");
    return *this;
  }
  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    return set(name, std::span<const T>(&value, 1));
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& of) {
    return set(name, std::span<const Descriptor>(&of, 1));
  }
  Descriptor& set(cudnnBackendAttributeName_t name, std::span<const Descriptor> list) {
    std::vector<void*> handles;
    for (const Descriptor& of : list) handles.push_back(of.get());
    check(cudnnBackendSetAttribute(get(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::int64_t(handles.size()),
                                   handles.data()),
          "cudnnBackendSetAttribute");
    return *this;
  }
  /// An attribute that is a text.
  std::string text(cudnnBackendAttributeName_t name) const {
    std::string text;
    const auto read = [&](std::int64_t room) {
      std::int64_t size = 0;
      check(cudnnBackendGetAttribute(get(), name, CUDNN_TYPE_CHAR, room, &size, room == 0 ? nullptr : text.data()),
            "cudnnBackendGetAttribute");
      text.resize(std::size_t(size));
    };
    read(0);
    if (!text.empty()) read(std::int64_t(text.size()));
    return text;
  }
  Descriptor& finalize() {
    check(cudnnBackendFinalize(get()), "cudnnBackendFinalize");
    return *this;
  }

 private:
  template <class T>
  static constexpr cudnnBackendAttributeType_t type_of() {
    if constexpr (std::is_same_v<T, std::int64_t>)
      return CUDNN_TYPE_INT64;
    else if constexpr (std::is_same_v<T, std::int32_t>)
      return CUDNN_TYPE_INT32;
    else if constexpr (std::is_same_v<T, double>)
      return CUDNN_TYPE_DOUBLE;
    else if constexpr (std::is_same_v<T, bool>)
      return CUDNN_TYPE_BOOLEAN;
    else if constexpr (std::is_same_v<T, char>)
      return CUDNN_TYPE_CHAR;
    else if constexpr (std::is_same_v<T, cudnnDataType_t>)
      return CUDNN_TYPE_DATA_TYPE;
    else if constexpr (std::is_same_v<T, cudnnPointwiseMode_t>)
      return CUDNN_TYPE_POINTWISE_MODE;
    else if constexpr (std::is_same_v<T, cudnnReduceTensorOp_t>)
      return CUDNN_TYPE_REDUCTION_OPERATOR_TYPE;
    else if constexpr (std::is_same_v<T, cudnnRngDistribution_t>)
      return CUDNN_TYPE_RNG_DISTRIBUTION;
    else if constexpr (std::is_same_v<T, cudnnBackendHeurMode_t>)
      return CUDNN_TYPE_HEUR_MODE;
    else {
      static_assert(std::is_pointer_v<T>, "fathom: no attribute of cuDNN's has this type");
      return CUDNN_TYPE_VOID_PTR;
    }
  }

  std::shared_ptr<void> handle_;
};

}  // namespace fathom::inline FATHOM_ABI::cuda
