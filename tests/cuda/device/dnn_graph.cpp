// SPDX-License-Identifier: Apache-2.0
// Graphs of cuDNN's operations, from their descriptors; which of them an engine takes.
#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "dnn.hpp"

namespace emulated::dnn {

namespace {

Refusal bad(std::string text) { return {CUDNN_STATUS_BAD_PARAM, std::move(text)}; }

std::optional<Number> number_of(int type) {
  switch (type) {
    case CUDNN_DATA_BFLOAT16:
      return Number::bf16;
    case CUDNN_DATA_HALF:
      return Number::f16;
    case CUDNN_DATA_FLOAT:
      return Number::f32;
    case CUDNN_DATA_DOUBLE:
      return Number::f64;
    case CUDNN_DATA_INT32:
      return Number::i32;
    case CUDNN_DATA_INT64:
      return Number::i64;
    case CUDNN_DATA_BOOLEAN:
      return Number::i32;  // of virtual tensors, which have no memory
    default:
      return {};
  }
}

const char* word_of(int mode) {
  switch (mode) {
    case CUDNN_POINTWISE_ADD:
      return "add";
    case CUDNN_POINTWISE_SUB:
      return "sub";
    case CUDNN_POINTWISE_MUL:
      return "mul";
    case CUDNN_POINTWISE_DIV:
      return "div";
    case CUDNN_POINTWISE_EXP:
      return "exp";
    case CUDNN_POINTWISE_LOG:
      return "log";
    case CUDNN_POINTWISE_IDENTITY:
      return "identity";
    case CUDNN_POINTWISE_CMP_GE:
      return "ge";
    case CUDNN_POINTWISE_CMP_LT:
      return "lt";
    case CUDNN_POINTWISE_LOGICAL_AND:
      return "and";
    case CUDNN_POINTWISE_GEN_INDEX:
      return "index";
    case CUDNN_POINTWISE_BINARY_SELECT:
      return "select";
    default:
      return nullptr;
  }
}

/// Makes a graph of descriptors; stops at the first thing that is wrong.
class Builder {
 public:
  explicit Builder(Graph& graph) : graph_(graph) {}

  Verdict operator()(const Descriptor& operation_graph) {
    for (const DescriptorPointer& operation : operation_graph.find(CUDNN_ATTR_OPERATIONGRAPH_OPS)->descriptors) {
      Node node;
      if (auto no = read(*operation, node)) return no;
      graph_.nodes.push_back(node);
    }
    if (auto no = sort()) return no;
    for (const Node& node : graph_.nodes)
      if (auto no = check(node)) return no;
    return {};
  }

 private:
  Verdict tensor(const Descriptor* descriptor, int& index) {
    index = -1;
    if (descriptor == nullptr) return {};
    if (descriptor->type != CUDNN_BACKEND_TENSOR_DESCRIPTOR) return bad("an operation's operand is no tensor");
    Tensor made;
    made.id = descriptor->value<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, 0);
    const auto type = number_of(descriptor->value(CUDNN_ATTR_TENSOR_DATA_TYPE, 0));
    if (!type) return bad("tensor " + std::to_string(made.id) + ": its type is not emulated");
    made.type = *type;
    const auto extents = descriptor->values<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
    const auto strides = descriptor->values<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
    std::copy_n(extents.begin(), 4, made.extents.begin());
    std::copy_n(strides.begin(), 4, made.strides.begin());
    made.alignment = descriptor->value<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1);
    made.is_virtual = descriptor->value(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false);
    made.by_value = descriptor->value(CUDNN_ATTR_TENSOR_IS_BY_VALUE, false);
    if (auto no = tensor(descriptor->descriptor(CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC), made.ragged)) return no;
    if (made.ragged >= 0) {
      const Tensor& offsets = graph_.tensors[std::size_t(made.ragged)];
      if (offsets.extents != std::array<std::int64_t, 4>{made.extents[0] + 1, 1, 1, 1} ||
          (offsets.type != Number::i64 && offsets.type != Number::i32))
        return bad("tensor " + std::to_string(made.id) +
                   ": its ragged offsets are integers, one more than it has sequences, with extents (B + 1, 1, 1, 1)");
    }
    index = graph_.find(made.id);
    if (index >= 0) {
      if (graph_.tensors[std::size_t(index)].same(made)) return {};
      return Refusal{CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "two tensors have the id " + std::to_string(made.id)};
    }
    index = int(graph_.tensors.size());
    graph_.tensors.push_back(made);
    return {};
  }

  Verdict operands(const Descriptor& operation, std::initializer_list<std::pair<int, int*>> list) {
    for (const auto& [name, index] : list)
      if (auto no = tensor(operation.descriptor(name), *index)) return no;
    return {};
  }

  Verdict read(const Descriptor& operation, Node& node) {
    switch (operation.type) {
      case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
        node.kind = Kind::matmul;
        node.word = "matmul";
        return operands(operation, {{CUDNN_ATTR_OPERATION_MATMUL_ADESC, &node.x},
                                    {CUDNN_ATTR_OPERATION_MATMUL_BDESC, &node.b},
                                    {CUDNN_ATTR_OPERATION_MATMUL_CDESC, &node.y},
                                    {CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, &node.overrides[0]},
                                    {CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, &node.overrides[1]},
                                    {CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, &node.overrides[2]}});
      case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: {
        node.kind = Kind::pointwise;
        const Descriptor& what = *operation.descriptor(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
        node.mode = what.value(CUDNN_ATTR_POINTWISE_MODE, -1);
        node.axis = what.value<std::int64_t>(CUDNN_ATTR_POINTWISE_AXIS, -1);
        const char* const word = word_of(node.mode);
        if (word == nullptr) return bad("pointwise mode " + std::to_string(node.mode) + " is not emulated");
        node.word = word;
        return operands(operation, {{CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &node.x},
                                    {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &node.b},
                                    {CUDNN_ATTR_OPERATION_POINTWISE_TDESC, &node.t},
                                    {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &node.y}});
      }
      case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
        node.kind = Kind::reduction;
        node.mode = operation.descriptor(CUDNN_ATTR_OPERATION_REDUCTION_DESC)->value(CUDNN_ATTR_REDUCTION_OPERATOR, -1);
        if (node.mode != CUDNN_REDUCE_TENSOR_MAX && node.mode != CUDNN_REDUCE_TENSOR_ADD)
          return bad("reduction " + std::to_string(node.mode) + " is not emulated");
        node.word = node.mode == CUDNN_REDUCE_TENSOR_MAX ? "max" : "sum";
        return operands(operation, {{CUDNN_ATTR_OPERATION_REDUCTION_XDESC, &node.x},
                                    {CUDNN_ATTR_OPERATION_REDUCTION_YDESC, &node.y}});
      case CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR: {
        node.kind = Kind::random;
        node.word = "random";
        const Descriptor& what = *operation.descriptor(CUDNN_ATTR_OPERATION_RNG_DESC);
        if (what.value(CUDNN_ATTR_RNG_DISTRIBUTION, -1) != CUDNN_RNG_DISTRIBUTION_BERNOULLI)
          return bad("random numbers other than Bernoulli's are not emulated");
        node.probability = what.value(CUDNN_ATTR_RNG_BERNOULLI_DIST_PROBABILITY, 0.0);
        return operands(operation, {{CUDNN_ATTR_OPERATION_RNG_SEED, &node.seed},
                                    {CUDNN_ATTR_OPERATION_RNG_OFFSET_DESC, &node.offset},
                                    {CUDNN_ATTR_OPERATION_RNG_YDESC, &node.y}});
      }
      case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
        node.kind = Kind::reshape;
        node.word = "reshape";
        return operands(operation,
                        {{CUDNN_ATTR_OPERATION_RESHAPE_XDESC, &node.x}, {CUDNN_ATTR_OPERATION_RESHAPE_YDESC, &node.y}});
      default:
        return bad("an operation graph holds something that is no operation");
    }
  }

  /// Puts each node behind those whose results it reads, and otherwise leaves their order.
  Verdict sort() {
    std::vector<bool> made(graph_.tensors.size(), true);
    for (const Node& node : graph_.nodes) {
      if (!made[std::size_t(node.y)]) return bad("two operations write tensor " + id(node.y));
      made[std::size_t(node.y)] = false;
    }
    for (std::size_t i = 0; i < graph_.tensors.size(); ++i)
      if (graph_.tensors[i].is_virtual && made[i]) return bad("no operation writes the virtual tensor " + id(int(i)));
    std::vector<Node> rest = std::exchange(graph_.nodes, {});
    while (!rest.empty()) {
      const auto next = std::ranges::find_if(rest, [&](const Node& node) {
        const int reads[] = {node.x,    node.b,     node.t, node.overrides[0], node.overrides[1], node.overrides[2],
                             node.seed, node.offset};
        return std::ranges::all_of(reads, [&](int index) { return index < 0 || made[std::size_t(index)]; });
      });
      if (next == rest.end()) return bad("operations wait for each other");
      made[std::size_t(next->y)] = true;
      graph_.nodes.push_back(*next);
      rest.erase(next);
    }
    return {};
  }

  Verdict check(const Node& node) const {
    const auto extents = [&](int index) { return graph_.tensors[std::size_t(index)].extents; };
    const auto wrong = [&] {
      return bad("the extents of operation " + node.word + " that writes tensor " + id(node.y) + " do not fit");
    };
    switch (node.kind) {
      case Kind::matmul: {
        const auto a = extents(node.x), b = extents(node.b), c = extents(node.y);
        if (a[0] != c[0] || b[0] != c[0] || a[2] != c[2] || b[3] != c[3] || a[3] != b[2]) return wrong();
        if (c[1] % a[1] != 0 || c[1] % b[1] != 0) return wrong();
        for (const int index : node.overrides)
          if (index >= 0 && extents(index) != std::array<std::int64_t, 4>{c[0], 1, 1, 1})
            return bad("lengths of sequences have the extents (B, 1, 1, 1)");
        return {};
      }
      case Kind::pointwise:
        for (const int index : {node.x, node.b, node.t})
          if (index >= 0)
            for (std::size_t i = 0; i < 4; ++i)
              if (extents(index)[i] != extents(node.y)[i] && extents(index)[i] != 1) return wrong();
        if ((node.word == "index") != (node.axis >= 0)) return bad("GEN_INDEX has an axis, and nothing else has");
        if ((node.word == "select") != (node.t >= 0)) return bad("BINARY_SELECT has a predicate, and nothing else has");
        return {};
      case Kind::reduction:
        for (std::size_t i = 0; i < 4; ++i)
          if (extents(node.x)[i] % extents(node.y)[i] != 0) return wrong();
        return {};
      case Kind::reshape: {
        const Tensor &x = graph_.tensors[std::size_t(node.x)], &y = graph_.tensors[std::size_t(node.y)];
        return x.size() == y.size() ? Verdict{} : wrong();
      }
      default:
        return {};
    }
  }

  std::string id(int index) const { return std::to_string(graph_.tensors[std::size_t(index)].id); }

  Graph& graph_;
};

}  // namespace

int Tensor::row_axis() const { return strides[3] > strides[2] ? 3 : 2; }

int Graph::find(std::int64_t id) const {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (tensors[i].id == id) return int(i);
  return -1;
}

Verdict build(const Descriptor& operation_graph, std::shared_ptr<Graph>& graph) {
  graph = std::make_shared<Graph>();
  return Builder(*graph)(operation_graph);
}

namespace {

struct Part {
  std::string_view words;
  bool optional = false;
};

/// Whether `words` are these parts one behind another, none of them left over. (std::regex is another one in the debug
/// mode of the standard library than in Catch2, which was built without.)
bool are(std::string_view words, std::initializer_list<Part> parts) {
  for (const Part& part : parts) {
    if (words.starts_with(part.words))
      words.remove_prefix(part.words.size());
    else if (!part.optional)
      return false;
  }
  return words.empty();
}

}  // namespace

// The engines look for one order of operations (docs/gpu.md says which were planned by cuDNN itself).
Verdict check_engine(Graph& graph) {
  std::string words;
  for (const Node& node : graph.nodes) words += node.word + " ";
  constexpr Part padding{"index index lt lt and select ", true}, causal{"index index ge select ", true},
      dropout{"random mul mul ", true}, scale{"mul ", true}, identity{"identity ", true};
  const bool is_forward =
      are(words, {{"matmul mul "}, padding, causal, {"max sub exp sum log add div "}, dropout, {"matmul "}});
  graph.backward = !is_forward;
  if (!is_forward && !are(words, {{"mul sum mul matmul mul "},
                                  padding,
                                  {"sub "},
                                  causal,
                                  {"exp "},
                                  dropout,
                                  {"reshape matmul matmul "},
                                  scale,
                                  {"sub mul mul "},
                                  scale,
                                  {"reshape matmul reshape matmul "},
                                  identity}))
    return Refusal{CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "no engine takes these operations: " + words};
  const Tensor& query = graph.tensors[std::size_t(
      std::ranges::find_if(graph.nodes, [](const Node& node) { return node.kind == Kind::matmul; })->x)];
  if (query.type == Number::f32 && graph.backward)
    return Refusal{CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "the engines of attention's backward read bf16 and fp16"};
  if (query.extents[3] % 8 != 0 || query.extents[3] > 256)
    return Refusal{CUDNN_STATUS_NOT_SUPPORTED_SHAPE,
                   "the width of a head is a multiple of 8, 256 at most: " + std::to_string(query.extents[3])};
  return {};
}

}  // namespace emulated::dnn
