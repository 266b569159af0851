// SPDX-License-Identifier: Apache-2.0
#include "support.hpp"

namespace failure_test {

using namespace emulated_test;

/// A small program, which gives back all that it got, whatever fails. Its first error.
cudaError_t program() {
  cudaError_t first = cudaSuccess;
  const auto keep = [&](cudaError_t error) {
    if (first == cudaSuccess) first = error;
    return error == cudaSuccess;
  };
  void *memory = nullptr, *host = nullptr;
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  int devices = 0;
  if (keep(cudaGetDeviceCount(&devices)) && keep(cudaMalloc(&memory, 4)) && keep(cudaMallocHost(&host, 4)) &&
      keep(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)) &&
      keep(cudaEventCreateWithFlags(&event, cudaEventDisableTiming)) && keep(cudaMemsetAsync(memory, 0, 4, stream)) &&
      keep(cudaEventRecord(event, stream)) && keep(cudaStreamWaitEvent(stream, event, 0)) &&
      keep(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed))) {
    keep(cudaMemcpyAsync(host, memory, 4, cudaMemcpyDeviceToHost, stream));
    keep(cudaStreamEndCapture(stream, &graph));
    if (graph != nullptr && keep(cudaGraphInstantiate(&exec, graph, 0)) && keep(cudaGraphLaunch(exec, stream)))
      keep(cudaStreamSynchronize(stream));
  }
  if (exec != nullptr) keep(cudaGraphExecDestroy(exec));
  if (graph != nullptr) keep(cudaGraphDestroy(graph));
  if (event != nullptr) keep(cudaEventDestroy(event));
  if (stream != nullptr) keep(cudaStreamDestroy(stream));
  keep(cudaFreeHost(host));
  keep(cudaFree(memory));
  return first;
}

TEST_CASE("failures: every call can be made to fail, and what gives back still does", "[device]") {
  Device& device = fresh_device();
  CHECK(ok(program()));
  CHECK(device.leaks().empty());
  const std::int64_t calls = device.calls();
  CHECK(calls == 20);
  CHECK(device.calls("cudaMalloc") == 1);
  for (std::int64_t at = 0; at < calls; ++at) {
    device.reset();
    device.inject({.at = at});
    const cudaError_t error = program();
    INFO("call " << at << ": " << device.injected());
    CHECK_FALSE(device.injected().empty());
    CHECK(error != cudaSuccess);
    CHECK((error == cudaErrorMemoryAllocation) == (device.injected().find("Malloc") != std::string::npos));
    CHECK(device.leaks() == std::vector<std::string>{});
  }
}

TEST_CASE("failures: a sticky error stays", "[device]") {
  Device& device = fresh_device();
  void* memory = nullptr;
  REQUIRE(ok(cudaMalloc(&memory, 4)));
  device.inject({.at = 0, .sticky = true});
  CHECK(cudaMemset(memory, 0, 4) == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(cudaFree(memory) == cudaErrorIllegalAddress);
  CHECK(device.leaks().empty());
}

TEST_CASE("failures: a mistake of work is told by the call that waits for it, and by all after it", "[device]") {
  Device& device = fresh_device();
  cudaStream_t stream = new_stream();
  bool after = false;
  auto& queue = *reinterpret_cast<emulated::Stream*>(stream);
  device.submit(queue, "kernel Wrong", [] { throw emulated::Mistake{"kernel Wrong, thread 3: why"}; });
  device.submit(queue, "next", [&] { after = true; });
  CHECK(ok(cudaPeekAtLastError()));
  const cudaError_t error = cudaStreamSynchronize(stream);
  CHECK(error == cudaErrorLaunchFailure);
  CHECK_FALSE(after);
  CHECK(std::string(cudaGetErrorString(error)) ==
        "unspecified launch failure (emulated device: kernel Wrong, thread 3: why)");
  CHECK(mistaken({"kernel Wrong, thread 3: why"}));
  CHECK(std::string(cudaGetErrorString(error)) == "unspecified launch failure");
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
}

TEST_CASE("failures: a machine without a device, and one with a driver that is too old", "[device]") {
  fresh_device({.devices = 0});
  int devices = 7;
  cudaStream_t stream = nullptr;
  void* memory = nullptr;
  CHECK(cudaGetDeviceCount(&devices) == cudaErrorNoDevice);
  CHECK(devices == 0);
  CHECK(cudaMalloc(&memory, 4) == cudaErrorNoDevice);
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaErrorNoDevice);
  fresh_device({.driver = 12080});
  CHECK(cudaGetDeviceCount(&devices) == cudaErrorInsufficientDriver);
  fresh_device();
  CHECK(ok(cudaGetDeviceCount(&devices)));
  CHECK(devices == 1);
  cudaDeviceProp properties;
  CHECK(ok(cudaGetDeviceProperties(&properties, 0)));
  CHECK((properties.major == 9 && properties.warpSize == 32));
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
}

}  // namespace failure_test
