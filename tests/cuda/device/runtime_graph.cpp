// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime's calls about captures and graphs.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "runtime_call.hpp"

namespace emulated {

namespace {

Graph* graph_of(Device& device, cudaGraph_t handle) {
  auto* const graph = reinterpret_cast<Graph*>(handle);
  return device.graphs().contains(graph) ? graph : nullptr;
}
GraphExec* exec_of(Device& device, cudaGraphExec_t handle) {
  auto* const exec = reinterpret_cast<GraphExec*>(handle);
  return device.execs().contains(exec) ? exec : nullptr;
}

/// Whether these points come after every node: no forked stream is left behind.
bool joined(const Graph& graph, const Points& points) {
  std::unordered_set<const Work*> before;
  for (const WorkPointer& point : points) before.insert(point.get());
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    if (!before.contains(node->get())) return false;
    for (const WorkPointer& earlier : (*node)->after) before.insert(earlier.get());
  }
  return true;
}

/// The same nodes once more, from which nothing leads to the old ones. What has no node before it comes after `first`.
std::vector<WorkPointer> copied(const std::vector<WorkPointer>& nodes, const Points& first) {
  std::unordered_map<const Work*, WorkPointer> copies;
  std::vector<WorkPointer> list;
  for (const WorkPointer& node : nodes) {
    auto copy = std::make_shared<Work>(Work{node->name, node->run, node->after.empty() ? first : Points{}});
    for (const WorkPointer& before : node->after) copy->after.push_back(copies.at(before.get()));
    copies.emplace(node.get(), copy);
    list.push_back(std::move(copy));
  }
  return list;
}

cudaError_t end_capture(Device& device, Stream& stream, cudaGraph_t* handle) {
  *handle = nullptr;
  const std::shared_ptr<Capture> capture = stream.capture;
  if (!capture || capture->origin != &stream) return cudaErrorStreamCaptureUnmatched;
  const bool complete = joined(*capture->graph, stream.last);
  for (Stream* other : device.streams())
    if (other->capture == capture) {
      other->capture = nullptr;
      other->last = std::move(other->outside);
    }
  std::unique_ptr<Graph> graph = std::move(capture->graph);  // events of the capture stand for nothing any more
  if (capture->invalid || !complete) {
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    device.mistake("cudaStreamEndCapture: a stream that joined the capture has work that its origin does not wait for");
    return cudaErrorStreamCaptureUnjoined;
  }
  device.graphs().insert(graph.get());
  *handle = reinterpret_cast<cudaGraph_t>(graph.release());
  return cudaSuccess;
}

cudaError_t launch_graph(Device& device, GraphExec& exec, cudaStream_t handle) {
  Stream* const stream = stream_of(device, handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture || stream == &device.legacy()) {
    device.mistake("cudaGraphLaunch into a capture or the legacy stream, which is not emulated");
    if (stream->capture) stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  Points first = stream->last;
  first.insert(first.end(), exec.last_launch.begin(), exec.last_launch.end());
  const std::vector<WorkPointer> nodes = copied(exec.nodes, first);
  auto end = std::make_shared<Work>(Work{"cudaGraphLaunch", {}, nodes});
  if (nodes.empty()) end->after = first;
  for (const WorkPointer& node : nodes) device.add(node);
  device.add(end);
  stream->last = exec.last_launch = {end};
  return cudaSuccess;
}

}  // namespace

}  // namespace emulated

using namespace emulated;

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
  return runtime_call("cudaStreamBeginCapture", Kind::usual, [&](Device& device) {
    Stream* const stream = stream_of(device, handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream == &device.legacy() || stream->capture) {
      device.mistake("cudaStreamBeginCapture of the legacy stream, or of a stream that captures already");
      return cudaErrorStreamCaptureUnsupported;
    }
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = stream;
    stream->outside = std::exchange(stream->last, {});
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  const cudaError_t error = runtime_call("cudaStreamEndCapture", Kind::gives_back, [&](Device& device) {
    Stream* const stream = stream_of(device, handle);
    return stream == nullptr ? cudaErrorInvalidResourceHandle : end_capture(device, *stream, graph);
  });
  if (error != cudaSuccess && *graph != nullptr) {  // it was made to fail: the capture has ended, with nothing
    Device::get().graphs().erase(reinterpret_cast<Graph*>(*graph));
    delete reinterpret_cast<Graph*>(std::exchange(*graph, nullptr));
  }
  return error;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return runtime_call("cudaStreamIsCapturing", Kind::usual, [&](Device& device) {
    const Stream* const stream = stream_of(device, handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    *status = !stream->capture           ? cudaStreamCaptureStatusNone
              : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                         : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

/// The number of nodes; which they are is not emulated.
cudaError_t cudaGraphGetNodes(cudaGraph_t handle, cudaGraphNode_t* nodes, size_t* count) {
  return runtime_call("cudaGraphGetNodes", Kind::usual, [&](Device& device) {
    const Graph* const graph = graph_of(device, handle);
    if (graph == nullptr || nodes != nullptr) return cudaErrorInvalidValue;
    *count = graph->nodes.size();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* handle, cudaGraph_t graph_handle, unsigned long long flags) {
  return runtime_call("cudaGraphInstantiate", Kind::not_captured, [&](Device& device) {
    const Graph* const graph = graph_of(device, graph_handle);
    if (graph == nullptr || flags != 0) return cudaErrorInvalidValue;
    auto* const exec = new GraphExec{copied(graph->nodes, {}), {}};
    device.execs().insert(exec);
    *handle = reinterpret_cast<cudaGraphExec_t>(exec);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream) {
  return runtime_call("cudaGraphLaunch", Kind::usual, [&](Device& device) {
    GraphExec* const exec = exec_of(device, handle);
    return exec == nullptr ? cudaErrorInvalidValue : launch_graph(device, *exec, stream);
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle) {
  return runtime_call("cudaGraphExecDestroy", Kind::gives_back, [&](Device& device) {
    GraphExec* const exec = exec_of(device, handle);
    if (exec == nullptr) return cudaErrorInvalidValue;
    device.reach(exec->last_launch);
    device.execs().erase(exec);
    delete exec;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t handle) {
  return runtime_call("cudaGraphDestroy", Kind::gives_back, [&](Device& device) {
    Graph* const graph = graph_of(device, handle);
    if (graph == nullptr) return cudaErrorInvalidValue;
    device.graphs().erase(graph);
    delete graph;
    return cudaSuccess;
  });
}
