// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "device.hpp"
#include "fault.hpp"

/// What tests of the emulated device have in common: plain calls, as a program makes them.
namespace emulated_test {
using emulated::Device;
using emulated::Order;

inline Device& fresh_device(const emulated::Settings& settings = {}) {
  Device::get().reset(settings);
  return Device::get();
}

inline bool ok(cudaError_t error) { return error == cudaSuccess; }

/// An array of the device's, filled by a copy.
template <class T>
T* on_device(const std::vector<T>& values) {
  void* memory = nullptr;
  REQUIRE(ok(cudaMalloc(&memory, values.size() * sizeof(T))));
  REQUIRE(ok(cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice)));
  return static_cast<T*>(memory);
}

/// Waits for the device, and copies values of its out.
template <class T>
std::vector<T> values_at(const T* memory, std::size_t count) {
  std::vector<T> values(count);
  REQUIRE(ok(cudaDeviceSynchronize()));
  REQUIRE(ok(cudaMemcpy(values.data(), memory, count * sizeof(T), cudaMemcpyDeviceToHost)));
  return values;
}

template <class T>
T* pinned(const std::vector<T>& values) {
  void* memory = nullptr;
  REQUIRE(ok(cudaMallocHost(&memory, values.size() * sizeof(T))));
  std::ranges::copy(values, static_cast<T*>(memory));
  return static_cast<T*>(memory);
}

inline cudaStream_t new_stream(unsigned flags = cudaStreamNonBlocking) {
  cudaStream_t stream = nullptr;
  REQUIRE(ok(cudaStreamCreateWithFlags(&stream, flags)));
  return stream;
}
inline cudaEvent_t new_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t event = nullptr;
  REQUIRE(ok(cudaEventCreateWithFlags(&event, flags)));
  return event;
}

/// Whether the mistakes are those expected: each a part of the text of one. They are forgiven.
inline bool mistaken(const std::vector<std::string>& parts) {
  Device& device = Device::get();
  bool same = device.mistakes().size() == parts.size();
  for (std::size_t i = 0; same && i < parts.size(); ++i)
    same = device.mistakes()[i].find(parts[i]) != std::string::npos;
  if (!same)
    for (const std::string& text : device.mistakes()) UNSCOPED_INFO("mistake: " << text);
  device.forgive();
  return same;
}

/// What a process writes to stderr that `f` ends with a fault of memory; "alive" if it does not end so.
template <class F>
std::string fault_of(F&& f) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], 2);
    std::signal(SIGSEGV, SIG_DFL);
    emulated::report_faults();
    f();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text;
  char bytes[512];
  for (ssize_t n; (n = ::read(ends[0], bytes, sizeof bytes)) > 0;) text.append(bytes, std::size_t(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV ? text : "alive";
}

}  // namespace emulated_test
