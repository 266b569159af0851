// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime's calls about streams and events.
#include <chrono>
#include <utility>

#include "mutation.hpp"
#include "runtime_call.hpp"

namespace emulated {

Stream* stream_of(Device& device, cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return &device.legacy();
  auto* const stream = reinterpret_cast<Stream*>(handle);
  if (device.streams().contains(stream)) return stream;
  device.mistake("a stream that was destroyed, or never made, is used");
  return nullptr;
}

cudaError_t submit(cudaStream_t handle, const std::string& name, std::function<void()> run) {
  Device& device = Device::get();
  Stream* const stream = stream_of(device, handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture && stream->capture->invalid) return cudaErrorStreamCaptureInvalidated;
  if (stream == &device.legacy())
    for (const Stream* other : device.streams())
      if (other->blocking && other->capture) {
        other->capture->invalid = true;
        device.mistake(name + " in the legacy stream while a stream that waits for it captures");
        return cudaErrorStreamCaptureImplicit;
      }
  device.submit(*stream, name, std::move(run));
  return cudaSuccess;
}

namespace {

Event* event_of(Device& device, cudaEvent_t handle) {
  auto* const event = reinterpret_cast<Event*>(handle);
  if (device.events().contains(event)) return event;
  device.mistake("an event that was destroyed, or never made, is used");
  return nullptr;
}

/// Whether the event stands for a place in a capture.
bool captured(Device& device, const Event& event, const char* name) {
  if (!event.capture) return false;
  event.capture->invalid = true;
  device.mistake(std::string(name) + " of an event that was recorded in a capture");
  return true;
}

cudaError_t create_event(cudaEvent_t* handle, bool timing) {
  auto* const event = new Event{.timing = timing, .points = {}, .capture = nullptr, .time = nullptr};
  Device::get().events().insert(event);
  *handle = reinterpret_cast<cudaEvent_t>(event);
  return cudaSuccess;
}

cudaError_t record(Device& device, cudaEvent_t event_handle, cudaStream_t handle) {
  Event* const event = event_of(device, event_handle);
  Stream* const stream = stream_of(device, handle);
  if (event == nullptr || stream == nullptr) return cudaErrorInvalidResourceHandle;
  event->capture = stream->capture;
  if (stream->capture) {  // a place in the graph, no node of it
    event->points = stream->last;
    return cudaSuccess;
  }
  event->time = std::make_shared<std::chrono::steady_clock::time_point>();
  const WorkPointer work = device.submit(
      *stream, "cudaEventRecord", [time = event->time] { *time = std::chrono::steady_clock::now(); }, false);
  event->points = {work};
  return cudaSuccess;
}

cudaError_t wait(Device& device, cudaStream_t handle, cudaEvent_t event_handle) {
  Event* const event = event_of(device, event_handle);
  Stream* const stream = stream_of(device, handle);
  if (event == nullptr || stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (event->capture && !stream->capture && event->capture->graph != nullptr) {
    if (stream == &device.legacy()) return cudaErrorStreamCaptureImplicit;
    stream->capture = event->capture;  // the stream joins the capture
    stream->outside = std::exchange(stream->last, event->points);
    return cudaSuccess;
  }
  if (stream->capture != event->capture) {
    if (stream->capture && event->points.empty()) return cudaSuccess;  // an event never recorded
    if (stream->capture) stream->capture->invalid = true;
    device.mistake("cudaStreamWaitEvent: one of the stream and the event is in a capture, and the other is not in it");
    return cudaErrorStreamCaptureIsolation;
  }
  stream->last.insert(stream->last.end(), event->points.begin(), event->points.end());
  return cudaSuccess;
}

/// Whether all is done; if not, some of it is done now, so that a loop of queries ends.
cudaError_t query(Device& device, const Points& points) {
  if (device.reached(points)) return cudaSuccess;
  device.reach(points);
  return cudaErrorNotReady;
}

}  // namespace

}  // namespace emulated

using namespace emulated;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned int flags) {
  return runtime_call("cudaStreamCreateWithFlags", Kind::usual, [&](Device& device) {
    if (device.settings().devices == 0) return cudaErrorNoDevice;
    if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    const bool blocking = flags == cudaStreamDefault;
    auto* const stream = new Stream{
        .blocking = blocking, .last = blocking ? device.legacy().last : Points{}, .outside = {}, .capture = nullptr};
    device.streams().insert(stream);
    *handle = reinterpret_cast<cudaStream_t>(stream);
    return cudaSuccess;
  });
}

/// "Any pending work is completed", later; here at once, which no program can tell.
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return runtime_call("cudaStreamDestroy", Kind::gives_back, [&](Device& device) {
    Stream* const stream = handle == nullptr ? nullptr : stream_of(device, handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->capture) {
      stream->capture->invalid = true;
      device.mistake("cudaStreamDestroy of a stream that captures");
    }
    device.reach(stream->last);
    device.streams().erase(stream);
    delete stream;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return runtime_call("cudaStreamSynchronize", Kind::not_captured, [&](Device& device) {
    Stream* const stream = stream_of(device, handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (std::exchange(mutation().awaited, false) && mutation().hits(Mutation::Kind::wait)) return cudaSuccess;
    device.reach(stream->last);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return runtime_call("cudaStreamQuery", Kind::not_captured, [&](Device& device) {
    Stream* const stream = stream_of(device, handle);
    return stream == nullptr ? cudaErrorInvalidResourceHandle : query(device, stream->last);
  });
}

cudaError_t cudaDeviceSynchronize() {
  return runtime_call("cudaDeviceSynchronize", Kind::not_captured, [](Device& device) {
    device.reach_all();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  return runtime_call("cudaStreamWaitEvent", Kind::usual,
                      [&](Device& device) { return flags != 0 ? cudaErrorInvalidValue : wait(device, stream, event); });
}

cudaError_t cudaEventCreate(cudaEvent_t* handle) {
  return runtime_call("cudaEventCreate", Kind::usual, [&](Device&) { return create_event(handle, true); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* handle, unsigned int flags) {
  return runtime_call("cudaEventCreateWithFlags", Kind::usual, [&](Device&) {
    if ((flags & ~unsigned(cudaEventBlockingSync | cudaEventDisableTiming)) != 0) return cudaErrorInvalidValue;
    return create_event(handle, (flags & cudaEventDisableTiming) == 0);
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return runtime_call("cudaEventDestroy", Kind::gives_back, [&](Device& device) {
    Event* const event = event_of(device, handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    device.events().erase(event);
    delete event;
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return runtime_call("cudaEventRecord", Kind::usual, [&](Device& device) { return record(device, event, stream); });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return runtime_call("cudaEventSynchronize", Kind::not_captured, [&](Device& device) {
    Event* const event = event_of(device, handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    if (captured(device, *event, "cudaEventSynchronize")) return cudaErrorCapturedEvent;
    device.reach(event->points);
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return runtime_call("cudaEventQuery", Kind::not_captured, [&](Device& device) {
    Event* const event = event_of(device, handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    if (captured(device, *event, "cudaEventQuery")) return cudaErrorCapturedEvent;
    return query(device, event->points);
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return runtime_call("cudaEventElapsedTime", Kind::usual, [&](Device& device) {
    Event *const begin = event_of(device, from), *const end = event_of(device, to);
    if (begin == nullptr || end == nullptr || !begin->time || !end->time || !begin->timing || !end->timing)
      return cudaErrorInvalidResourceHandle;
    if (!device.reached(begin->points) || !device.reached(end->points)) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(*end->time - *begin->time).count();
    return cudaSuccess;
  });
}
