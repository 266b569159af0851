// SPDX-License-Identifier: Apache-2.0
#include <functional>

#include "support.hpp"

namespace graph_test {

using namespace emulated_test;

constexpr auto mode = cudaStreamCaptureModeRelaxed;

cudaGraphExec_t instantiated(cudaGraph_t graph) {
  cudaGraphExec_t exec = nullptr;
  REQUIRE(ok(cudaGraphInstantiate(&exec, graph, 0)));
  REQUIRE(ok(cudaGraphDestroy(graph)));
  return exec;
}

/// A device byte to which work adds 1.
void increment(cudaStream_t stream, unsigned char* memory) {
  Device::get().submit(*reinterpret_cast<emulated::Stream*>(stream), "increment", [=] { ++*memory; });
}

TEST_CASE("graphs: what is captured is done at each launch and not before", "[device]") {
  for (const Order order : {Order::forward, Order::reverse, Order::random}) {
    Device& device = fresh_device({.order = order});
    cudaStream_t stream = new_stream();
    unsigned char *const memory = on_device<unsigned char>({0}), *const host = pinned<unsigned char>({10});
    REQUIRE(ok(cudaStreamBeginCapture(stream, mode)));
    REQUIRE(ok(cudaMemcpyAsync(memory, host, 1, cudaMemcpyHostToDevice, stream)));
    increment(stream, memory);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    CHECK(ok(cudaStreamIsCapturing(stream, &status)));
    CHECK(status == cudaStreamCaptureStatusActive);
    cudaGraph_t graph = nullptr;
    REQUIRE(ok(cudaStreamEndCapture(stream, &graph)));
    std::size_t nodes = 0;
    CHECK(ok(cudaGraphGetNodes(graph, nullptr, &nodes)));
    CHECK(nodes == 2);
    cudaGraphExec_t exec = instantiated(graph);
    CHECK(values_at(memory, 1)[0] == 0);

    REQUIRE(ok(cudaGraphLaunch(exec, stream)));
    *host = 20;  // read when the launch comes to it
    REQUIRE(ok(cudaStreamSynchronize(stream)));
    CHECK(values_at(memory, 1)[0] == 21);
    *host = 30;
    REQUIRE(ok(cudaGraphLaunch(exec, stream)));
    increment(stream, memory);
    CHECK(values_at(memory, 1)[0] == 32);

    CHECK(ok(cudaGraphExecDestroy(exec)));
    CHECK(ok(cudaStreamDestroy(stream)));
    CHECK(ok(cudaFree(memory)));
    CHECK(ok(cudaFreeHost(host)));
    CHECK(device.leaks().empty());
  }
}

TEST_CASE("graphs: streams fork and join by events", "[device]") {
  for (const Order order : {Order::forward, Order::reverse, Order::random}) {
    fresh_device({.order = order});
    cudaStream_t main = new_stream(), side = new_stream();
    cudaEvent_t fork = new_event(), join = new_event();
    unsigned char *const a = on_device<unsigned char>({1}), *const b = on_device<unsigned char>({2});
    REQUIRE(ok(cudaStreamBeginCapture(main, mode)));
    increment(main, a);
    REQUIRE(ok(cudaEventRecord(fork, main)));
    REQUIRE(ok(cudaStreamWaitEvent(side, fork, 0)));
    REQUIRE(ok(cudaMemcpyAsync(b, a, 1, cudaMemcpyDeviceToDevice, side)));
    REQUIRE(ok(cudaEventRecord(join, side)));
    REQUIRE(ok(cudaStreamWaitEvent(main, join, 0)));
    increment(main, b);
    cudaGraph_t graph = nullptr;
    REQUIRE(ok(cudaStreamEndCapture(main, &graph)));
    cudaGraphExec_t exec = instantiated(graph);
    REQUIRE(ok(cudaGraphLaunch(exec, main)));
    REQUIRE(ok(cudaGraphLaunch(exec, side)));  // behind the first launch, in whatever stream
    REQUIRE(ok(cudaStreamSynchronize(side)));
    CHECK(values_at(a, 1)[0] == 3);
    CHECK(values_at(b, 1)[0] == 4);
    increment(side, a);  // the side stream captures no more
    CHECK(values_at(a, 1)[0] == 4);
  }
}

TEST_CASE("graphs: a stream that is not joined is an error", "[device]") {
  fresh_device();
  cudaStream_t main = new_stream(), side = new_stream();
  cudaEvent_t fork = new_event();
  unsigned char* const memory = on_device<unsigned char>({1});
  REQUIRE(ok(cudaStreamBeginCapture(main, mode)));
  REQUIRE(ok(cudaEventRecord(fork, main)));
  REQUIRE(ok(cudaStreamWaitEvent(side, fork, 0)));
  increment(side, memory);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(side, &graph) == cudaErrorStreamCaptureUnmatched);
  CHECK(cudaStreamEndCapture(main, &graph) == cudaErrorStreamCaptureUnjoined);
  CHECK(graph == nullptr);
  CHECK(mistaken({"its origin does not wait for"}));
}

TEST_CASE("graphs: allocating, freeing and waiting during a capture are errors, and end it", "[device]") {
  Device& device = fresh_device();
  cudaStream_t stream = new_stream(), other = new_stream();
  cudaEvent_t event = new_event();
  int* const memory = on_device<int>({1});
  int pageable = 0;
  void* more = nullptr;
  int* const host = pinned<int>({1});
  REQUIRE(ok(cudaEventRecord(event, other)));
  const std::vector<std::pair<const char*, std::function<cudaError_t()>>> forbidden = {
      {"cudaMalloc ", [&] { return cudaMalloc(&more, 4); }},
      {"cudaMallocHost", [&] { return cudaMallocHost(&more, 4); }},
      {"cudaStreamSynchronize", [&] { return cudaStreamSynchronize(stream); }},
      {"cudaStreamSynchronize", [&] { return cudaStreamSynchronize(other); }},
      {"cudaDeviceSynchronize", [&] { return cudaDeviceSynchronize(); }},
      {"cudaEventSynchronize", [&] { return cudaEventSynchronize(event); }},
      {"cudaStreamQuery", [&] { return cudaStreamQuery(stream); }},
      {"cudaMemcpy ", [&] { return cudaMemcpy(memory, host, 4, cudaMemcpyHostToDevice); }},
      {"not pinned", [&] { return cudaMemcpyAsync(memory, &pageable, 4, cudaMemcpyHostToDevice, stream); }},
      {"not pinned", [&] { return cudaMemcpyAsync(&pageable, memory, 4, cudaMemcpyDeviceToHost, stream); }},
  };
  for (const auto& [text, call] : forbidden) {
    INFO(text);
    cudaGraph_t graph = nullptr;
    REQUIRE(ok(cudaStreamBeginCapture(stream, mode)));
    CHECK(call() == cudaErrorStreamCaptureUnsupported);
    CHECK(mistaken({text}));
    CHECK(cudaMemsetAsync(memory, 0, 4, stream) == cudaErrorStreamCaptureInvalidated);
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
  }
  CHECK(values_at(memory, 1)[0] == 1);
  CHECK(device.pending() == 0);

  cudaGraph_t graph = nullptr;
  REQUIRE(ok(cudaStreamBeginCapture(stream, mode)));
  CHECK(ok(cudaFree(memory)));  // what gives back does so, whatever it finds
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(mistaken({"cudaFree while a stream captures"}));
}

TEST_CASE("graphs: the legacy stream stays out of captures, and captures out of it", "[device]") {
  fresh_device();
  cudaStream_t blocking = new_stream(cudaStreamDefault);
  int* const memory = on_device<int>({1});
  CHECK(cudaStreamBeginCapture(nullptr, mode) == cudaErrorStreamCaptureUnsupported);
  REQUIRE(ok(cudaStreamBeginCapture(blocking, mode)));
  CHECK(cudaStreamBeginCapture(blocking, mode) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaMemsetAsync(memory, 0, 4, nullptr) == cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(blocking, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(mistaken({"of the legacy stream", "captures already", "cudaMemsetAsync in the legacy stream"}));
}

TEST_CASE("graphs: a capture and what is outside of it do not wait for each other", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream(), other = new_stream();
  cudaEvent_t outside = new_event(), inside = new_event();
  unsigned char* const memory = on_device<unsigned char>({1});
  increment(other, memory);
  REQUIRE(ok(cudaEventRecord(outside, other)));
  cudaGraph_t graph = nullptr;
  REQUIRE(ok(cudaStreamBeginCapture(stream, mode)));
  CHECK(cudaStreamWaitEvent(stream, outside, 0) == cudaErrorStreamCaptureIsolation);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(mistaken({"one of the stream and the event is in a capture"}));

  REQUIRE(ok(cudaStreamBeginCapture(stream, mode)));
  increment(stream, memory);
  REQUIRE(ok(cudaEventRecord(inside, stream)));
  REQUIRE(ok(cudaStreamEndCapture(stream, &graph)));
  CHECK(cudaEventSynchronize(inside) == cudaErrorCapturedEvent);
  CHECK(mistaken({"recorded in a capture"}));
  CHECK(ok(cudaGraphDestroy(graph)));
}

TEST_CASE("graphs: work from before a capture stays in its stream", "[device]") {
  fresh_device();
  cudaStream_t stream = new_stream();
  unsigned char* const memory = on_device<unsigned char>({1});
  increment(stream, memory);
  REQUIRE(ok(cudaStreamBeginCapture(stream, mode)));
  REQUIRE(ok(cudaMemsetAsync(memory, 10, 1, stream)));
  cudaGraph_t graph = nullptr;
  REQUIRE(ok(cudaStreamEndCapture(stream, &graph)));
  cudaGraphExec_t exec = instantiated(graph);
  REQUIRE(ok(cudaStreamSynchronize(stream)));
  CHECK(values_at(memory, 1)[0] == 2);
  REQUIRE(ok(cudaGraphLaunch(exec, stream)));
  CHECK(values_at(memory, 1)[0] == 10);
}

}  // namespace graph_test
