// SPDX-License-Identifier: Apache-2.0
// cuDNN's handles, and the descriptors of its backend API.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "dnn.hpp"
#include "runtime_call.hpp"

namespace emulated::dnn {

namespace {

/// All descriptors by their handles. Those of a device that was reset are in it too, and cannot be found.
std::map<const void*, DescriptorPointer>& registry() {
  static auto* const registry = new std::map<const void*, DescriptorPointer>;
  return *registry;
}

constexpr const char *descriptor_kind = "descriptors of cuDNN", *handle_kind = "handles of cuDNN";

DescriptorPointer find_descriptor(Device& device, const void* handle) {
  const auto known = device.handles().find(handle);
  if (known == device.handles().end() || known->second != descriptor_kind) return nullptr;
  return registry().at(handle);
}

struct Library {
  cudaStream_t stream = nullptr;
};
Library* library(Device& device, cudnnHandle_t handle) {
  const auto known = device.handles().find(handle);
  return known == device.handles().end() || known->second != handle_kind ? nullptr : reinterpret_cast<Library*>(handle);
}

std::string& last_error() {
  static std::string text;
  return text;
}

/// A refusal as a program gets it: the status, and the text for whoever asks. A mistake where a program must not go on.
cudnnStatus_t refuse(Device& device, const char* call, const Refusal& why, bool is_mistake = true) {
  last_error() = std::string(call) + ": " + why.text;
  if (is_mistake) device.mistake(last_error());
  return why.status;
}

template <class F>
cudnnStatus_t api(const char* name, F&& work) {
  Device& device = Device::get();
  const std::lock_guard lock(device.mutex());
  if (device.count_call(name)) {
    last_error() = std::string(name) + ": made to fail";
    return CUDNN_STATUS_INTERNAL_ERROR;
  }
  return device.sticky() != 0 ? CUDNN_STATUS_EXECUTION_FAILED_CUDART : work(device);
}
/// What gives something back does so even if it fails.
template <class F>
cudnnStatus_t release(const char* name, F&& work) {
  Device& device = Device::get();
  const std::lock_guard lock(device.mutex());
  const bool fails = device.count_call(name);
  const cudnnStatus_t status = work(device);
  return status == CUDNN_STATUS_SUCCESS && fails ? CUDNN_STATUS_INTERNAL_ERROR : status;
}

/// Plans that were written down, for this process: a plan's text is its place here.
std::vector<std::shared_ptr<Graph>>& written_plans() {
  static auto* const plans = new std::vector<std::shared_ptr<Graph>>;
  return *plans;
}
constexpr std::string_view text_begin = R"({"emulated plan":)";
std::string text_of(const std::shared_ptr<Graph>& graph) {
  auto& plans = written_plans();
  const auto place = std::ranges::find(plans, graph) - plans.begin();
  if (place == std::ssize(plans)) plans.push_back(graph);
  return std::string(text_begin) + std::to_string(place) + "}";
}
std::shared_ptr<Graph> graph_of_text(const std::vector<char>& text) {
  for (const auto& graph : written_plans())
    if (std::ranges::equal(text, text_of(graph))) return graph;
  return nullptr;
}

Verdict set(Device& device, Descriptor& descriptor, int name, int type, std::int64_t count, const void* elements) {
  if (descriptor.finalized)
    return Refusal{CUDNN_STATUS_NOT_INITIALIZED, "the descriptor is finalized already; attributes are set before"};
  const Rule* const rule = rule_of(descriptor.type, name);
  if (rule == nullptr)
    return Refusal{CUDNN_STATUS_BAD_PARAM, "attribute " + std::to_string(name) +
                                               " is not one of a descriptor of type " +
                                               std::to_string(descriptor.type) + ", or is not emulated"};
  if (type != rule->type)
    return Refusal{CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute " + std::to_string(name) + " is of type " +
                                                              std::to_string(rule->type) + ", not " +
                                                              std::to_string(type)};
  if (count < 1 || count > rule->most || elements == nullptr)
    return Refusal{CUDNN_STATUS_BAD_PARAM, "attribute " + std::to_string(name) + " has " + std::to_string(count) +
                                               " elements: 1 to " + std::to_string(rule->most) + " are emulated"};
  Attribute attribute{cudnnBackendAttributeType_t(type), count, {}, {}};
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (std::int64_t i = 0; i < count; ++i) {
      DescriptorPointer of = find_descriptor(device, static_cast<void* const*>(elements)[i]);
      if (!of || !of->finalized)
        return Refusal{
            CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
            "attribute " + std::to_string(name) + " is a descriptor that is not finalized, or was destroyed"};
      attribute.descriptors.push_back(std::move(of));
    }
  } else {
    const auto* const bytes = static_cast<const std::byte*>(elements);
    attribute.bytes.assign(bytes, bytes + std::size_t(count) * element_bytes(type));
  }
  descriptor.attributes[name] = std::move(attribute);
  return {};
}

/// Finalizes one that has all it needs.
Verdict finalize(Device& device, Descriptor& descriptor) {
  if (descriptor.finalized) return Refusal{CUDNN_STATUS_BAD_PARAM, "the descriptor is finalized already"};
  if (auto no = check_attributes(descriptor)) return no;
  if (descriptor.type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
    if (auto no = build(descriptor, descriptor.graph)) return no;
  if (descriptor.type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) {
    if (device.captures()) return Refusal{CUDNN_STATUS_BAD_PARAM, "heuristics are asked while a stream captures"};
    descriptor.graph = descriptor.descriptor(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)->graph;
  }
  if (descriptor.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    if (device.captures()) return Refusal{CUDNN_STATUS_BAD_PARAM, "a plan is made while a stream captures"};
    if (descriptor.find(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION) != nullptr) {
      descriptor.graph = graph_of_text(descriptor.values<char>(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION));
      if (!descriptor.graph) return Refusal{CUDNN_STATUS_BAD_PARAM, "no plan of this process has that text"};
    } else {
      const Descriptor* const engine = descriptor.descriptor(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
      if (engine == nullptr) return Refusal{CUDNN_STATUS_BAD_PARAM, "a plan lacks its engine configuration"};
      descriptor.graph = engine->graph;
      if (!descriptor.graph) return Refusal{CUDNN_STATUS_BAD_PARAM, "the engine configuration comes of no heuristic"};
    }
  }
  descriptor.finalized = true;
  return {};
}

Verdict execute_plan(Device& device, const Library& library, const Descriptor& plan, const Descriptor& pack) {
  if (plan.type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR || !plan.finalized ||
      pack.type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR || !pack.finalized)
    return Refusal{CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                   "it takes a finalized execution plan and a finalized variant pack"};
  const auto ids = pack.values<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.values<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  Arguments arguments;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const int index = plan.graph->find(ids[i]);
    if (index < 0 || plan.graph->tensors[std::size_t(index)].is_virtual)
      return Refusal{CUDNN_STATUS_BAD_PARAM, "the variant pack has tensor " + std::to_string(ids[i]) +
                                                 ", which the graph does not read or write"};
    const Tensor& tensor = plan.graph->tensors[std::size_t(index)];
    Argument argument{pointers[i], 0};
    if (tensor.by_value) {
      if (pointers[i] == nullptr || device.memory().owns(pointers[i]))
        return Refusal{CUDNN_STATUS_BAD_PARAM,
                       "tensor " + std::to_string(ids[i]) + " is by value: its address is the host's"};
      argument.number = read_number(tensor.type, pointers[i], 0);
    }
    if (!arguments.emplace(ids[i], argument).second)
      return Refusal{CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "tensor " + std::to_string(ids[i]) + " is there twice"};
  }
  if (auto no = check_arguments(device, *plan.graph, arguments)) return no;
  void* const workspace = pack.value<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr);
  const std::int64_t bytes = workspace_bytes(*plan.graph);
  if (!device.memory().holds(workspace, std::size_t(bytes)))
    return Refusal{CUDNN_STATUS_BAD_PARAM,
                   "the workspace has not the bytes that the plan asks for, " + std::to_string(bytes)};
  const cudaError_t error =
      submit(library.stream, std::string("cuDNN attention, ") + (plan.graph->backward ? "backward" : "forward"),
             [graph = plan.graph, arguments, workspace, bytes] {
               std::memset(workspace, 0xFF, std::size_t(bytes));
               execute(*graph, arguments);
             });
  if (error != cudaSuccess) return Refusal{CUDNN_STATUS_EXECUTION_FAILED_CUDART, cudaGetErrorString(error)};
  return {};
}

}  // namespace

}  // namespace emulated::dnn

using namespace emulated;
using namespace emulated::dnn;

size_t cudnnGetVersion() {
  const std::size_t version = Device::get().settings().cudnn_version;
  return version == 0 ? CUDNN_VERSION : version;
}

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS:
      return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED:
      return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM:
      return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED:
      return "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED";
    case CUDNN_STATUS_NOT_SUPPORTED:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_INTERNAL_ERROR:
      return "CUDNN_STATUS_INTERNAL_ERROR";
    case CUDNN_STATUS_EXECUTION_FAILED:
      return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
      return "CUDNN_STATUS";
  }
}

void cudnnGetLastErrorString(char* message, size_t size) {
  if (message == nullptr || size == 0) return;
  const std::string text = std::exchange(last_error(), "");
  const std::size_t bytes = std::min(text.size(), size - 1);
  std::memcpy(message, text.data(), bytes);
  message[bytes] = 0;
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  return api("cudnnCreate", [&](Device& device) {
    if (device.settings().devices == 0)
      return refuse(device, "cudnnCreate", {CUDNN_STATUS_NOT_INITIALIZED, "there is no device"}, false);
    auto* const made = new Library;
    device.handles().emplace(made, handle_kind);
    *handle = reinterpret_cast<cudnnHandle_t>(made);
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  return release("cudnnDestroy", [&](Device& device) {
    Library* const made = library(device, handle);
    if (made == nullptr)
      return refuse(device, "cudnnDestroy", {CUDNN_STATUS_BAD_PARAM, "no such handle, or it was destroyed"});
    device.handles().erase(handle);
    delete made;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  return api("cudnnSetStream", [&](Device& device) {
    Library* const made = library(device, handle);
    if (made == nullptr || stream_of(device, stream) == nullptr)
      return refuse(device, "cudnnSetStream", {CUDNN_STATUS_BAD_PARAM, "no such handle or stream"});
    made->stream = stream;
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* handle) {
  return api("cudnnBackendCreateDescriptor", [&](Device& device) {
    const bool known = type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR || is_emulated(type);
    if (!known)
      return refuse(device, "cudnnBackendCreateDescriptor",
                    {CUDNN_STATUS_NOT_SUPPORTED, "descriptors of type " + std::to_string(type) + " are not emulated"});
    auto made = std::make_shared<Descriptor>();
    made->type = type;
    *handle = made.get();
    device.handles().emplace(made.get(), descriptor_kind);
    registry()[made.get()] = std::move(made);
    return CUDNN_STATUS_SUCCESS;
  });
}

/// Others that were made of it go on having it.
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t handle) {
  return release("cudnnBackendDestroyDescriptor", [&](Device& device) {
    if (!find_descriptor(device, handle))
      return refuse(device, "cudnnBackendDestroyDescriptor",
                    {CUDNN_STATUS_BAD_PARAM, "no such descriptor, or it was destroyed"});
    device.handles().erase(handle);
    registry().erase(handle);
    return CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* elements) {
  return api("cudnnBackendSetAttribute", [&](Device& device) {
    const DescriptorPointer descriptor = find_descriptor(device, handle);
    const Verdict no = descriptor ? set(device, *descriptor, name, type, count, elements)
                                  : Refusal{CUDNN_STATUS_BAD_PARAM, "no such descriptor, or it was destroyed"};
    return no ? refuse(device, "cudnnBackendSetAttribute", *no) : CUDNN_STATUS_SUCCESS;
  });
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t handle) {
  return api("cudnnBackendFinalize", [&](Device& device) {
    const DescriptorPointer descriptor = find_descriptor(device, handle);
    const Verdict no = descriptor ? finalize(device, *descriptor)
                                  : Refusal{CUDNN_STATUS_BAD_PARAM, "no such descriptor, or it was destroyed"};
    const bool reads = descriptor && descriptor->find(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION) != nullptr;
    return no ? refuse(device, "cudnnBackendFinalize", *no, !reads)
              : CUDNN_STATUS_SUCCESS;  // who reads a plan may find another's
  });
}

/// Of heuristics: how many configurations there may be, or those that there are, into descriptors that the program
/// made. cuDNN itself was seen to promise some where no engine takes the graph, and to give none then; that is no
/// mistake. Of plans: the bytes of their workspace, and their texts, as of devices.
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t requested, int64_t* count,
                                       void* elements) {
  return api("cudnnBackendGetAttribute", [&](Device& device) {
    const DescriptorPointer descriptor = find_descriptor(device, handle);
    if (!descriptor || !descriptor->finalized)
      return refuse(device, "cudnnBackendGetAttribute",
                    {CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the descriptor is not finalized"});
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
      const Verdict no = check_engine(*descriptor->graph);
      if (no) refuse(device, "cudnnBackendGetAttribute", *no, false);
      *count = no && requested > 0 ? 0 : 1;
      if (no || requested < 1 || elements == nullptr) return CUDNN_STATUS_SUCCESS;
      const DescriptorPointer config = find_descriptor(device, *static_cast<void**>(elements));
      if (!config || config->type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
        return refuse(device, "cudnnBackendGetAttribute",
                      {CUDNN_STATUS_BAD_PARAM, "results go into engine configurations that were created before"});
      config->graph = descriptor->graph;
      config->finalized = true;
      return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64 && requested == 1 &&
        elements != nullptr) {
      const std::int64_t bytes = workspace_bytes(*descriptor->graph);
      std::memcpy(elements, &bytes, sizeof bytes);
      if (count != nullptr) *count = 1;
      return CUDNN_STATUS_SUCCESS;
    }
    if (type == CUDNN_TYPE_CHAR && count != nullptr &&
        (name == CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION || name == CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION)) {
      const std::string text = name == CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION ? text_of(descriptor->graph)
                                                                                     : R"({"deviceName":"emulated"})";
      if (requested > 0 && elements != nullptr)
        std::memcpy(elements, text.data(), std::min(text.size(), std::size_t(requested)));
      *count = std::int64_t(text.size());
      return CUDNN_STATUS_SUCCESS;
    }
    return refuse(device, "cudnnBackendGetAttribute",
                  {CUDNN_STATUS_NOT_SUPPORTED, "reading attribute " + std::to_string(name) + " is not emulated"});
  });
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_handle,
                                  cudnnBackendDescriptor_t pack_handle) {
  return api("cudnnBackendExecute", [&](Device& device) {
    const DescriptorPointer plan = find_descriptor(device, plan_handle), pack = find_descriptor(device, pack_handle);
    const Library* const made = library(device, handle);
    const Verdict no = made == nullptr || !plan || !pack
                           ? Refusal{CUDNN_STATUS_BAD_PARAM, "no such handle or descriptor, or it was destroyed"}
                           : execute_plan(device, *made, *plan, *pack);
    return no ? refuse(device, "cudnnBackendExecute", *no) : CUDNN_STATUS_SUCCESS;
  });
}
