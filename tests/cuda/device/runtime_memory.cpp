// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime's calls about memory.
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "mutation.hpp"
#include "runtime_call.hpp"

using namespace emulated;

namespace {

/// Where bytes are.
enum class Place { device, pinned, pageable, nowhere };

Place place_of(Device& device, const void* begin, std::size_t bytes) {
  if (device.memory().owns(begin)) return device.memory().holds(begin, bytes) ? Place::device : Place::nowhere;
  const auto* const first = static_cast<const std::byte*>(begin);
  auto found = device.pinned().upper_bound(begin);
  if (found == device.pinned().begin()) return Place::pageable;
  const auto& [block, size] = *--found;
  const auto* const start = static_cast<const std::byte*>(block);
  if (first >= start + size) return Place::pageable;
  return bytes <= size - std::size_t(first - start) ? Place::pinned : Place::nowhere;
}

cudaError_t refuse(Device& device, const std::string& text) {
  device.mistake(text);
  return cudaErrorInvalidValue;
}

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
  Place to_place, from_place;
};

/// Checks both sides, and that the kind says what they are.
cudaError_t check(Device& device, const char* name, Copy& copy, cudaMemcpyKind kind) {
  copy.to_place = place_of(device, copy.to, copy.bytes);
  copy.from_place = place_of(device, copy.from, copy.bytes);
  const auto outside = [&](const char* side, const void* at) {
    return refuse(device, std::string(name) + ": " + std::to_string(copy.bytes) + " bytes " + side + " " +
                              device.memory().describe(at) + " are not in one block");
  };
  if (copy.to_place == Place::nowhere) return outside("to", copy.to);
  if (copy.from_place == Place::nowhere) return outside("from", copy.from);
  const bool to = copy.to_place == Place::device, from = copy.from_place == Place::device;
  const cudaMemcpyKind is = to     ? from ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                            : from ? cudaMemcpyDeviceToHost
                                   : cudaMemcpyHostToHost;
  if (kind != is && kind != cudaMemcpyDefault)
    return refuse(device, std::string(name) + ": its kind is not that of its addresses");
  return cudaSuccess;
}

}  // namespace

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  return runtime_call("cudaMalloc", Kind::not_captured, [&](Device& device) {
    *pointer = nullptr;
    if (device.settings().devices == 0) return cudaErrorNoDevice;
    if (bytes == 0) return cudaSuccess;
    *pointer = device.memory().take(bytes);
    return *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t cudaFree(void* pointer) {
  return runtime_call("cudaFree", Kind::frees, [&](Device& device) {
    if (pointer == nullptr) return cudaSuccess;
    device.reach_all();
    bool damaged = false;
    if (!device.memory().give_back(pointer, damaged))
      return refuse(device, "cudaFree: " + device.memory().describe(pointer) + " is not the begin of a block in use");
    return damaged ? refuse(device, "cudaFree: bytes beside the block were written to") : cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return runtime_call("cudaMallocHost", Kind::not_captured, [&](Device& device) {
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    *pointer = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (*pointer == nullptr) return cudaErrorMemoryAllocation;
    std::memset(*pointer, 0xFF, bytes);
    device.pinned().emplace(*pointer, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* pointer) {
  return runtime_call("cudaFreeHost", Kind::frees, [&](Device& device) {
    if (pointer == nullptr) return cudaSuccess;
    if (!device.pinned().contains(pointer)) return refuse(device, "cudaFreeHost: not the begin of a pinned block");
    device.reach_all();
    device.pinned().erase(pointer);
    std::free(pointer);
    return cudaSuccess;
  });
}

/// Through the legacy stream, which does not wait for streams made with cudaStreamNonBlocking. Copies to the host, and
/// from memory that is not pinned, are done when the call returns; others are not.
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return runtime_call("cudaMemcpy", Kind::not_captured, [&](Device& device) {
    if (bytes == 0) return cudaSuccess;
    Copy copy{to, from, bytes, {}, {}};
    if (const cudaError_t error = check(device, "cudaMemcpy", copy, kind)) return error;
    const WorkPointer work =
        device.submit(device.legacy(), "cudaMemcpy", [=] { std::memmove(to, from, bytes); }, false);
    if (copy.to_place != Place::device || copy.from_place != Place::device) device.reach({work});
    return cudaSuccess;
  });
}

/// Pinned memory is read and written when the stream comes to it. Pageable memory is read at once; a copy into it waits
/// for the stream, as the runtime's documentation says ("API synchronization behavior"). In a capture it is refused:
/// fathom captures copies of pinned memory alone.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return runtime_call("cudaMemcpyAsync", Kind::usual, [&](Device& device) {
    if (bytes == 0) return cudaSuccess;
    Copy copy{to, from, bytes, {}, {}};
    if (const cudaError_t error = check(device, "cudaMemcpyAsync", copy, kind)) return error;
    const bool pageable = copy.to_place == Place::pageable || copy.from_place == Place::pageable;
    Stream* const on = stream_of(device, stream);
    if (on == nullptr) return cudaErrorInvalidResourceHandle;
    if (pageable && on->capture) {
      on->capture->invalid = true;
      device.mistake("cudaMemcpyAsync in a capture, of memory that is not pinned");
      return cudaErrorStreamCaptureUnsupported;
    }
    if (copy.from_place == Place::pageable) {
      const auto* const bytes_from = static_cast<const std::byte*>(from);
      const auto staged = std::make_shared<std::vector<std::byte>>(bytes_from, bytes_from + bytes);
      return submit(stream, "cudaMemcpyAsync", [=] { std::memcpy(to, staged->data(), bytes); });
    }
    const cudaError_t error = submit(stream, "cudaMemcpyAsync", [=] { std::memmove(to, from, bytes); });
    mutation().awaited = copy.to_place != Place::device;
    if (error == cudaSuccess && copy.to_place == Place::pageable) device.reach(on->last);
    return error;
  });
}

namespace {

cudaError_t set_bytes(Device& device, const char* name, void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (place_of(device, to, bytes) != Place::device)
    return refuse(device, std::string(name) + ": " + std::to_string(bytes) + " bytes at " +
                              device.memory().describe(to) + " are not in one block");
  return submit(stream, name, [=] { std::memset(to, value, bytes); });
}

}  // namespace

/// Not done when the call returns.
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return runtime_call("cudaMemset", Kind::not_captured,
                      [&](Device& device) { return set_bytes(device, "cudaMemset", to, value, bytes, nullptr); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return runtime_call("cudaMemsetAsync", Kind::usual,
                      [&](Device& device) { return set_bytes(device, "cudaMemsetAsync", to, value, bytes, stream); });
}
