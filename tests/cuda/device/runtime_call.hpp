// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <mutex>
#include <string>
#include <utility>

#include "device.hpp"

namespace emulated {

/// What a call of the runtime is, beside its work.
enum class Kind {
  usual,
  gives_back,    ///< does its work even if it fails, as after an error of earlier work
  frees,         ///< the same, and must not be made while a stream captures
  not_captured,  ///< must not be made while a stream captures: it allocates or waits
};

/// Makes a call of the runtime: counts it, lets it fail where that is asked for, and keeps its error.
template <class F>
cudaError_t runtime_call(const char* name, Kind kind, F&& work) {
  Device& device = Device::get();
  const std::lock_guard lock(device.mutex());
  const bool fails = device.count_call(name);
  const bool gives_back = kind == Kind::gives_back || kind == Kind::frees;
  const auto body = [&]() -> cudaError_t {
    if (!gives_back) {
      if (device.sticky() != 0) return cudaError_t(device.sticky());
      if (fails)
        return std::string(name).find("Malloc") != std::string::npos ? cudaErrorMemoryAllocation : cudaErrorUnknown;
    }
    if ((kind == Kind::frees || kind == Kind::not_captured) && device.captures()) {
      device.mistake(
          std::string(name) +
          " while a stream captures: \"The operation is not permitted when the stream is capturing\"; a graph "
          "neither allocates, frees nor waits");
      device.invalidate_captures();
      if (!gives_back) return cudaErrorStreamCaptureUnsupported;
    }
    const cudaError_t error = work(device);
    if (error != cudaSuccess) return error;
    if (device.sticky() != 0) return cudaError_t(device.sticky());
    return fails ? cudaErrorUnknown : cudaSuccess;
  };
  const cudaError_t error = body();
  if (error != cudaSuccess && error != cudaErrorNotReady) device.last_error() = error;
  return error;
}

/// The stream behind a handle; null: there is none.
Stream* stream_of(Device& device, cudaStream_t handle);

/// Hands work to a stream, or says why it cannot be.
cudaError_t submit(cudaStream_t stream, const std::string& name, std::function<void()> run);

}  // namespace emulated
