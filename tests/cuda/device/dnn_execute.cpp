// SPDX-License-Identifier: Apache-2.0
// Graphs of cuDNN's operations run node by node, in double.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "dnn.hpp"
#include "mutation.hpp"

namespace emulated::dnn {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Walks over all places of four extents.
template <class F>
void for_each(const std::array<std::int64_t, 4>& extents, F&& f) {
  for (std::int64_t b = 0; b < extents[0]; ++b)
    for (std::int64_t h = 0; h < extents[1]; ++h)
      for (std::int64_t i = 0; i < extents[2]; ++i)
        for (std::int64_t j = 0; j < extents[3]; ++j) f(std::array<std::int64_t, 4>{b, h, i, j});
}

double uniform(std::uint64_t seed, std::uint64_t offset, std::uint64_t place) {  // in [0, 1), splitmix64
  std::uint64_t x = seed * 0x9E3779B97F4A7C15u ^ (offset + 1) * 0xD1B54A32D192ED03u ^ (place + 1) * 0x8CB92BA72F3D8DD7u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return double((x ^ x >> 31) >> 11) * 0x1p-53;
}

class Run {
 public:
  Run(const Graph& graph, const Arguments& arguments)
      : graph_(graph), arguments_(arguments), values_(graph.tensors.size()) {}

  void operator()() {
    std::vector<bool> written(graph_.tensors.size());
    for (const Node& node : graph_.nodes) written[std::size_t(node.y)] = true;
    for (std::size_t i = 0; i < graph_.tensors.size(); ++i)
      if (!written[i]) load(int(i));
    for (const Node& node : graph_.nodes) {
      values_[std::size_t(node.y)].assign(std::size_t(tensor(node.y).size()), nan);
      perform(node);
      if (tensor(node.y).is_virtual)
        narrow(node.y);
      else
        store(node.y);
    }
  }

 private:
  const Tensor& tensor(int index) const { return graph_.tensors[std::size_t(index)]; }
  using Place = std::array<std::int64_t, 4>;

  /// The value at a place, or where an extent is 1, at its only one. Heads that are fewer serve as many in a row.
  double& at(int index, const Place& place, const std::array<std::int64_t, 4>& of) {
    const Tensor& t = tensor(index);
    std::int64_t position = 0;
    for (std::size_t i = 0; i < 4; ++i) position = position * t.extents[i] + place[i] * t.extents[i] / of[i];
    return values_[std::size_t(index)][std::size_t(position)];
  }
  double& at(int index, const Place& place) { return at(index, place, tensor(index).extents); }

  std::int64_t first(const Tensor& t, std::int64_t b) {
    if (t.ragged < 0) return b * t.strides[0];
    const auto offset = std::int64_t(at(t.ragged, {b, 0, 0, 0}));
    const bool wrong = offset > 0 && mutation().hits(Mutation::Kind::ragged_offset);
    return wrong ? offset / t.strides[std::size_t(t.row_axis())] : offset;
  }
  /// Rows of a sequence that have memory.
  std::int64_t rows(const Tensor& t, std::int64_t b) {
    const auto axis = std::size_t(t.row_axis());
    if (t.ragged < 0) return t.extents[axis];
    const std::int64_t elements = first(t, b + 1) - first(t, b);
    if (elements < 0 || elements % t.strides[axis] != 0 || elements / t.strides[axis] > t.extents[axis])
      throw Mistake{"cuDNN: ragged offsets " + std::to_string(first(t, b)) + " and " + std::to_string(first(t, b + 1)) +
                    " of tensor " + std::to_string(t.id) + " are not " + std::to_string(t.extents[axis]) + " rows of " +
                    std::to_string(t.strides[axis]) + " elements or fewer: offsets count elements"};
    return elements / t.strides[axis];
  }
  /// Calls f(place, element of the tensor's memory) for all that has memory.
  template <class F>
  void for_each_element(const Tensor& t, F&& f) {
    const auto axis = std::size_t(t.row_axis());
    std::vector<std::int64_t> begins, lengths;
    for (std::int64_t b = 0; b < t.extents[0]; ++b) begins.push_back(first(t, b)), lengths.push_back(rows(t, b));
    for_each(t.extents, [&](const Place& place) {
      const auto b = std::size_t(place[0]);
      if (place[axis] < lengths[b]) f(place, begins[b] + t.offset(0, place[1], place[2], place[3]));
    });
  }

  void load(int index) {
    const Tensor& t = tensor(index);
    auto& values = values_[std::size_t(index)];
    if (!values.empty()) return;
    values.assign(std::size_t(t.size()), nan);
    const Argument& argument = arguments_.at(t.id);
    if (t.by_value) {
      values.assign(1, argument.number);
      return;
    }
    if (t.ragged >= 0) load(t.ragged);
    for_each_element(t, [&](const Place& place, std::int64_t element) {
      at(index, place) = read_number(t.type, argument.address, element);
    });
  }

  void store(int index) {
    const Tensor& t = tensor(index);
    if (t.ragged >= 0) load(t.ragged);
    void* const address = arguments_.at(t.id).address;
    for_each_element(t, [&](const Place& place, std::int64_t element) {
      write_number(t.type, address, element, at(index, place));
      at(index, place) = read_number(t.type, address, element);
    });
  }

  /// What has no memory is in double, unless it has fewer bits than a float.
  void narrow(int index) {
    const Number type = tensor(index).type;
    if (type != Number::bf16 && type != Number::f16) return;
    for (double& value : values_[std::size_t(index)]) value = rounded_to(type, value);
  }

  std::int64_t length(int index, std::int64_t b, std::int64_t all) {
    return index < 0 ? all : std::min(all, std::int64_t(at(index, {b, 0, 0, 0})));
  }

  void multiply(const Node& node) {
    const Tensor &a = tensor(node.x), &c = tensor(node.y);
    for (std::int64_t b = 0; b < c.extents[0]; ++b) {
      const std::int64_t m = length(node.overrides[0], b, c.extents[2]), n = length(node.overrides[1], b, c.extents[3]);
      const std::int64_t inner = length(node.overrides[2], b, a.extents[3]);
      for (std::int64_t h = 0; h < c.extents[1]; ++h)
        for (std::int64_t i = 0; i < m; ++i)
          for (std::int64_t j = 0; j < n; ++j) {
            const std::int64_t ha = h * a.extents[1] / c.extents[1], hb = h * tensor(node.b).extents[1] / c.extents[1];
            double sum = 0;
            for (std::int64_t k = 0; k < inner; ++k) sum += at(node.x, {b, ha, i, k}) * at(node.b, {b, hb, k, j});
            at(node.y, {b, h, i, j}) = sum;
          }
    }
  }

  double pointwise(const Node& node, const Place& place) {
    const auto& of = tensor(node.y).extents;
    const auto x = [&] { return at(node.x, place, of); };
    const auto b = [&] { return at(node.b, place, of); };
    switch (node.mode) {
      case CUDNN_POINTWISE_ADD:
        return x() + b();
      case CUDNN_POINTWISE_SUB:
        return x() - b();
      case CUDNN_POINTWISE_MUL:
        return x() * b();
      case CUDNN_POINTWISE_DIV:
        return x() / b();
      case CUDNN_POINTWISE_EXP:
        return std::exp(x());
      case CUDNN_POINTWISE_LOG:
        return std::log(x());
      case CUDNN_POINTWISE_IDENTITY:
        return x();
      case CUDNN_POINTWISE_CMP_GE:
        return x() >= b();
      case CUDNN_POINTWISE_CMP_LT:
        return x() < b();
      case CUDNN_POINTWISE_LOGICAL_AND:
        return x() != 0 && b() != 0;
      case CUDNN_POINTWISE_GEN_INDEX:
        return double(place[std::size_t(node.axis)]);
      default:
        return at(node.t, place, of) != 0 ? x() : b();  // BINARY_SELECT
    }
  }

  void reduce(const Node& node) {
    const auto &from = tensor(node.x).extents, &to = tensor(node.y).extents;
    const bool maximum = node.mode == CUDNN_REDUCE_TENSOR_MAX;
    std::ranges::fill(values_[std::size_t(node.y)], maximum ? -std::numeric_limits<double>::infinity() : 0);
    for_each(from, [&](const Place& place) {
      Place into;
      for (std::size_t i = 0; i < 4; ++i) into[i] = place[i] * to[i] / from[i];
      double& sum = at(node.y, into);
      const double value = at(node.x, place);
      sum = !maximum ? sum + value : std::isnan(value) || value > sum ? value : sum;
    });
  }

  /// The same memory, seen with other extents and strides.
  void reshape(const Node& node) {
    std::map<std::int64_t, double> memory;
    const Tensor &x = tensor(node.x), &y = tensor(node.y);
    const auto offset = [](const Tensor& t, const Place& p) { return t.offset(p[0], p[1], p[2], p[3]); };
    if (x.ragged >= 0 || y.ragged >= 0) {  // a transpose: rows of the one are columns of the other
      for_each(y.extents, [&](const Place& p) { at(node.y, p) = at(node.x, {p[0], p[1], p[3], p[2]}); });
      return;
    }
    for_each(x.extents, [&](const Place& place) { memory[offset(x, place)] = at(node.x, place); });
    for_each(y.extents, [&](const Place& place) {
      const auto found = memory.find(offset(y, place));
      if (found == memory.end()) throw Mistake{"cuDNN: a reshape reads what is not there"};
      at(node.y, place) = found->second;
    });
  }

  void perform(const Node& node) {
    switch (node.kind) {
      case Kind::matmul:
        return multiply(node);
      case Kind::pointwise:
        return for_each(tensor(node.y).extents,
                        [&](const Place& place) { at(node.y, place) = pointwise(node, place); });
      case Kind::reduction:
        return reduce(node);
      case Kind::reshape:
        return reshape(node);
      case Kind::random: {
        const auto seed = std::uint64_t(at(node.seed, {0, 0, 0, 0})),
                   offset = std::uint64_t(at(node.offset, {0, 0, 0, 0}));
        std::uint64_t place = 0;
        for (double& value : values_[std::size_t(node.y)]) value = uniform(seed, offset, place++) < node.probability;
        return;
      }
    }
  }

  const Graph& graph_;
  const Arguments& arguments_;
  std::vector<std::vector<double>> values_;
};

}  // namespace

Verdict check_arguments(Device& device, const Graph& graph, const Arguments& arguments) {
  for (const Tensor& t : graph.tensors) {
    if (t.is_virtual) continue;
    const auto found = arguments.find(t.id);
    if (found == arguments.end())
      return Refusal{CUDNN_STATUS_BAD_PARAM, "the variant pack lacks tensor " + std::to_string(t.id)};
    if (t.by_value) continue;
    const auto address = reinterpret_cast<std::uintptr_t>(found->second.address);
    if (address % std::uintptr_t(t.alignment) != 0)
      return Refusal{
          CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER,
          "tensor " + std::to_string(t.id) + " is not aligned to its " + std::to_string(t.alignment) + " bytes"};
    // What a ragged tensor has is known when it runs; else it is all.
    const std::int64_t last = t.offset(t.extents[0] - 1, t.extents[1] - 1, t.extents[2] - 1, t.extents[3] - 1);
    const std::size_t bytes = bytes_of(t.type) * (t.ragged >= 0 ? 1 : std::size_t(last) + 1);
    if (!device.memory().holds(found->second.address, bytes))
      return Refusal{CUDNN_STATUS_BAD_PARAM, "tensor " + std::to_string(t.id) + ": " + std::to_string(bytes) +
                                                 " bytes at " + device.memory().describe(found->second.address) +
                                                 " are not in one block"};
  }
  return {};
}

void execute(const Graph& graph, const Arguments& arguments) { Run(graph, arguments)(); }

std::int64_t workspace_bytes(const Graph& graph) {
  std::int64_t scores = 0;  // of the first product
  for (const Node& node : graph.nodes)
    if (node.kind == Kind::matmul && scores == 0) scores = graph.tensors[std::size_t(node.y)].size();
  return 17'152 + (graph.backward ? 2 * scores : 0) + Device::get().settings().plan_bytes;
}

}  // namespace emulated::dnn
