// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime's calls about the device, its errors and its versions.
#include <cstring>
#include <string>

#include "runtime_call.hpp"

using namespace emulated;

namespace {

struct Text {
  cudaError_t error;
  const char *name, *text;
};
constexpr Text texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidDevicePointer, "cudaErrorInvalidDevicePointer", "invalid device pointer"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "capture was not initiated in this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const Text* text_of(cudaError_t error) {
  for (const Text& text : texts)
    if (text.error == error) return &text;
  return nullptr;
}

cudaError_t check_device(Device& device, int number) {
  if (device.settings().devices == 0) return cudaErrorNoDevice;
  return number >= 0 && number < device.settings().devices ? cudaSuccess : cudaErrorInvalidDevice;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  const Text* const text = text_of(error);
  return text == nullptr ? "unrecognized error code" : text->name;
}

/// The runtime's own text, and behind it what the emulated device found wrong last.
const char* cudaGetErrorString(cudaError_t error) {
  const Text* const text = text_of(error);
  if (text == nullptr) return "unrecognized error code";
  const auto& mistakes = Device::get().mistakes();
  if (error == cudaSuccess || mistakes.empty()) return text->text;
  static thread_local std::string whole;
  whole = std::string(text->text) + " (emulated device: " + mistakes.back() + ")";
  return whole.c_str();
}

cudaError_t cudaGetLastError() {
  Device& device = Device::get();
  const std::lock_guard lock(device.mutex());
  if (device.sticky() != 0) return cudaError_t(device.sticky());
  return cudaError_t(std::exchange(device.last_error(), cudaSuccess));
}

cudaError_t cudaPeekAtLastError() {
  Device& device = Device::get();
  const std::lock_guard lock(device.mutex());
  return cudaError_t(device.sticky() != 0 ? device.sticky() : device.last_error());
}

cudaError_t cudaDriverGetVersion(int* version) {
  return runtime_call("cudaDriverGetVersion", Kind::usual, [&](Device& device) {
    *version = device.settings().driver;
    return cudaSuccess;
  });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  return runtime_call("cudaRuntimeGetVersion", Kind::usual, [&](Device&) {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceCount(int* count) {
  return runtime_call("cudaGetDeviceCount", Kind::usual, [&](Device& device) {
    *count = 0;
    // A driver serves the runtimes of its own major version (CUDA's minor version compatibility).
    if (device.settings().driver / 1000 < CUDART_VERSION / 1000) return cudaErrorInsufficientDriver;
    if (device.settings().devices == 0) return cudaErrorNoDevice;
    *count = device.settings().devices;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* number) {
  return runtime_call("cudaGetDevice", Kind::usual, [&](Device& device) {
    *number = 0;
    return check_device(device, 0);
  });
}

cudaError_t cudaSetDevice(int number) {
  return runtime_call("cudaSetDevice", Kind::usual, [&](Device& device) {
    if (const cudaError_t error = check_device(device, number)) return error;
    if (number == 0) return cudaSuccess;
    device.mistake("cudaSetDevice(" + std::to_string(number) + "): only the first device is emulated");
    return cudaErrorInvalidDevice;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int number) {
  return runtime_call("cudaGetDeviceProperties", Kind::usual, [&](Device& device) {
    if (const cudaError_t error = check_device(device, number)) return error;
    *properties = {};
    std::strcpy(properties->name, "emulated H200");
    properties->totalGlobalMem = device.memory().capacity();
    properties->major = 9;
    properties->minor = 0;
    properties->multiProcessorCount = 132;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->sharedMemPerBlock = 48 << 10;
    properties->sharedMemPerBlockOptin = 227 << 10;
    properties->l2CacheSize = 60 << 20;
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  return runtime_call("cudaMemGetInfo", Kind::usual, [&](Device& device) {
    *total = device.memory().capacity();
    *available = device.memory().capacity() - device.memory().used();
    return cudaSuccess;
  });
}
