// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <fathom/backend/cuda/error.hpp>
#include <fathom/core/config.hpp>
#include <memory>
#include <string>
#include <utility>

namespace fathom::inline FATHOM_ABI::cuda {

/// Errors: CudaError, with the call and what the runtime says of it.
inline void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess)
    throw CudaError(std::string(call) + ": " + cudaGetErrorName(status) + ": " + cudaGetErrorString(status));
}

/// Errors: CudaError, where there is no device, or a driver that is older than what this program was compiled for.
inline void check_device() {
  int count = 0, driver = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  const auto version = [](int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  if (driver > 0 && driver < CUDART_VERSION / 1000 * 1000)
    throw CudaError("the driver knows CUDA " + version(driver) + ", and this program was compiled for CUDA " +
                    version(CUDART_VERSION) + ": install a newer driver, or compile with an older toolkit");
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver || (error == cudaSuccess && count == 0))
    throw CudaError("there is no NVIDIA GPU that this process may use: see nvidia-smi and CUDA_VISIBLE_DEVICES");
  check(error, "cudaGetDeviceCount");
}

/// What the runtime or a library has made, and how it is given back.
template <class Handle, auto destroy>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_ != nullptr) destroy(handle_);
  }
  Handle get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  Handle handle_ = nullptr;
};

using OwnedStream = Owned<cudaStream_t, cudaStreamDestroy>;
using OwnedGraph = Owned<cudaGraph_t, cudaGraphDestroy>;
using OwnedGraphExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

/// Memory of the host that the device copies from and to without waiting.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(std::size_t bytes) {
    void* made = nullptr;
    check(cudaMallocHost(&made, bytes), "cudaMallocHost");
    memory_ = Owned<void*, cudaFreeHost>(made);
    size_ = bytes;
  }
  void* data() const { return memory_.get(); }
  std::size_t size() const { return size_; }

 private:
  Owned<void*, cudaFreeHost> memory_;
  std::size_t size_ = 0;
};

/// A stream that the legacy stream does not wait for.
inline OwnedStream make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return OwnedStream(stream);
}

}  // namespace fathom::inline FATHOM_ABI::cuda
