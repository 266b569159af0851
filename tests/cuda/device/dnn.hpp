// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cudnn.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device.hpp"
#include "numbers.hpp"

/// What the parts of the emulated cuDNN share: descriptors of its backend API, and the graphs that they say.
namespace emulated::dnn {

/// Why cuDNN does not do something; `cudnnGetLastErrorString` answers with the text.
struct Refusal {
  cudnnStatus_t status;
  std::string text;
};
using Verdict = std::optional<Refusal>;  ///< none: it does

struct Tensor {
  std::int64_t id = 0;
  Number type = Number::f32;
  std::array<std::int64_t, 4> extents{}, strides{};
  std::int64_t alignment = 1;
  bool is_virtual = false, by_value = false;
  int ragged = -1;  ///< index of the tensor of offsets; -1: none

  std::int64_t size() const { return extents[0] * extents[1] * extents[2] * extents[3]; }
  std::int64_t offset(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return b * strides[0] + h * strides[1] + i * strides[2] + j * strides[3];
  }
  /// Of the last two extents, the one that lies further out in memory: along it a ragged tensor's rows stand.
  int row_axis() const;
  bool same(const Tensor& other) const {
    return type == other.type && extents == other.extents && strides == other.strides &&
           is_virtual == other.is_virtual && by_value == other.by_value;
  }
};

enum class Kind { matmul, pointwise, reduction, random, reshape };

/// One operation; tensors by index, -1: none.
struct Node {
  Kind kind{};
  int x = -1, b = -1, t = -1, y = -1;
  int mode = 0;                              ///< of pointwise operations and reductions
  std::int64_t axis = -1;                    ///< of GEN_INDEX
  std::array<int, 3> overrides{-1, -1, -1};  ///< M, N, K of a matmul for each sequence
  double probability = 0;
  int seed = -1, offset = -1;
  std::string word;  ///< what patterns call it
};

/// An operation graph as it runs: nodes in an order in which each comes behind what it reads.
struct Graph {
  std::vector<Tensor> tensors;
  std::vector<Node> nodes;
  bool backward = false;

  int find(std::int64_t id) const;
};

struct Descriptor;
using DescriptorPointer = std::shared_ptr<Descriptor>;

struct Attribute {
  cudnnBackendAttributeType_t type{};
  std::int64_t count = 0;
  std::vector<std::byte> bytes;
  std::vector<DescriptorPointer> descriptors;
};

struct Descriptor {
  cudnnBackendDescriptorType_t type{};
  bool finalized = false;
  std::map<int, Attribute> attributes;
  std::shared_ptr<Graph> graph;  ///< of operation graphs, and of what is made of them

  const Attribute* find(int name) const {
    const auto found = attributes.find(name);
    return found == attributes.end() ? nullptr : &found->second;
  }
  const Descriptor* descriptor(int name) const {
    const Attribute* const found = find(name);
    return found == nullptr || found->descriptors.empty() ? nullptr : found->descriptors.front().get();
  }
  template <class T>
  T value(int name, T otherwise) const {
    const Attribute* const found = find(name);
    if (found != nullptr && found->bytes.size() >= sizeof(T)) std::memcpy(&otherwise, found->bytes.data(), sizeof(T));
    return otherwise;
  }
  template <class T>
  std::vector<T> values(int name) const {
    const Attribute* const found = find(name);
    std::vector<T> list(found == nullptr ? 0 : found->bytes.size() / sizeof(T));
    if (!list.empty()) std::memcpy(list.data(), found->bytes.data(), list.size() * sizeof(T));
    return list;
  }
};

/// An attribute that a kind of descriptor has.
struct Rule {
  int descriptor, attribute, type;
  std::int64_t most;  ///< elements
  bool required;
};
/// Null: that kind of descriptor has no such attribute, or it is not emulated.
const Rule* rule_of(int descriptor, int attribute);
bool is_emulated(int descriptor);
/// Bytes of an attribute's element of this type.
std::size_t element_bytes(int type);

/// What of a descriptor's attributes is not right for finalizing it.
Verdict check_attributes(const Descriptor& descriptor);
/// The graph of an operation graph's descriptor, or why it is none.
Verdict build(const Descriptor& operation_graph, std::shared_ptr<Graph>& graph);
/// Whether an engine takes the graph: attention, forward or backward, in the order in which the engines look for it.
Verdict check_engine(Graph& graph);

/// Bytes of workspace that a plan asks for: as cuDNN's plans for an H200, whose backward keeps all scores of 16 bits.
std::int64_t workspace_bytes(const Graph& graph);

/// What a variant pack says of a tensor: an address of the device's, or a number that was read at the call.
struct Argument {
  void* address = nullptr;
  double number = 0;
};
using Arguments = std::map<std::int64_t, Argument>;

/// Whether all that the graph reads and writes is there.
Verdict check_arguments(Device& device, const Graph& graph, const Arguments& arguments);
/// Runs the graph now, in double. Errors: Mistake.
void execute(const Graph& graph, const Arguments& arguments);

}  // namespace emulated::dnn
