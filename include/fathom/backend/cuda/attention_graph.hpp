// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <fathom/backend/cuda/cudnn.hpp>
#include <fathom/core/config.hpp>
#include <iomanip>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace fathom::inline FATHOM_ABI::cuda {

/// What attention is planned for. Rows of all sequences lie one behind another; `cu` below are the rows before each.
struct AttentionShape {
  std::int64_t sequences, heads, width;                                ///< `width` of a head
  std::int64_t queries, keys;                                          ///< rows of the longest sequence
  std::int64_t query_stride, key_stride, value_stride, output_stride;  ///< elements from one row to the next
  std::int64_t statistics_stride;                                      ///< elements from one head to the next
  bool causal = false;
  /// Whether backward sums into `query_gradient` in an order of its own, by way of `query_sums`, or always in the same,
  /// which takes workspace of 2 · sequences · heads · queries · keys bytes.
  bool ordered = false;
  double keep = 1;  ///< probability that a weight is not dropped
  cudnnDataType_t type = CUDNN_DATA_BFLOAT16;

  auto operator<=>(const AttentionShape&) const = default;
};

/// To be raised with every change of the graphs and of the ids of `AttentionTensor`.
inline constexpr int graph_version = 1;

/// All that a plan depends on, but for cuDNN and the device.
inline std::string text_of(const AttentionShape& shape, bool backward) {
  std::ostringstream text;
  text << (backward ? "attention backward" : "attention forward") << ", graph " << graph_version << ": sequences "
       << shape.sequences << ", heads " << shape.heads << ", width " << shape.width << ", queries " << shape.queries
       << ", keys " << shape.keys << ", strides " << shape.query_stride << ' ' << shape.key_stride << ' '
       << shape.value_stride << ' ' << shape.output_stride << ' ' << shape.statistics_stride
       << (shape.causal ? ", causal" : "") << (shape.ordered ? ", ordered" : "") << ", keep " << std::setprecision(17)
       << shape.keep << ", type " << shape.type;
  return text.str();
}

/// The ids of what a variant pack binds. Addresses are the device's unless it is said.
enum class AttentionTensor : std::int64_t {
  query = 1,
  key,
  value,
  output,
  statistics,  ///< (heads, rows) floats: log of the sum of exponentials
  scale,
  minus_infinity,  ///< floats of the host
  kept_scale,
  kept,  ///< floats of the host: 1 / keep, and keep (1 without dropout)
  query_lengths,
  key_lengths,  ///< int32 of each sequence
  query_offsets,
  key_offsets,
  value_offsets,
  output_offsets,      ///< int64, sequences + 1: cu times the row's stride
  statistics_offsets,  ///< cu
  seed,
  seed_offset,      ///< int64: of the dropout
  output_gradient,  ///< as `output`
  query_gradient,
  key_gradient,
  value_gradient,  ///< as `query`, `key`, `value`
  sums,            ///< as `statistics`: of output · its gradient, written by backward
  query_sums       ///< floats as `query`: the sum that `query_gradient` is rounded from; none if that is ordered
};

/// The operations of attention for cuDNN's backend API, in the order that its flash engines look for. All tensors have
/// the extents (sequences, heads, rows, width); rows behind the end of a sequence are neither read nor written.
class AttentionGraph {
 public:
  /// y = softmax(scale · q kᵀ) v, and the statistics for backward. Dao et al. 2022, arXiv:2205.14135.
  static Descriptor forward(const AttentionShape& shape) {
    AttentionGraph g(shape);
    const Tensor scores = g.masked(g.scaled_scores());
    const Tensor largest = g.reduce(CUDNN_REDUCE_TENSOR_MAX, scores);
    const Tensor powers = g.pointwise(CUDNN_POINTWISE_EXP, g.pointwise(CUDNN_POINTWISE_SUB, scores, largest));
    const Tensor sum = g.reduce(CUDNN_REDUCE_TENSOR_ADD, powers);
    g.pointwise(CUDNN_POINTWISE_ADD, largest, g.pointwise(CUDNN_POINTWISE_LOG, sum),
                g.statistics(AttentionTensor::statistics));
    Tensor weights;
    if (shape.keep == 1) {
      weights = g.pointwise(CUDNN_POINTWISE_DIV, powers, sum, g.scores(shape.type));
    } else {
      weights = g.pointwise(CUDNN_POINTWISE_DIV, powers, sum);
      const Tensor kept = g.pointwise(CUDNN_POINTWISE_MUL, weights, g.kept());
      weights = g.pointwise(CUDNN_POINTWISE_MUL, kept, g.number(AttentionTensor::kept_scale), g.scores(shape.type));
    }
    g.matmul(weights, g.values(), g.rows(AttentionTensor::output), g.query_lengths_, {}, g.key_lengths_);
    return g.finished();
  }

  /// dq, dk and dv from q, k, v, y, dy and the statistics.
  static Descriptor backward(const AttentionShape& shape) {
    AttentionGraph g(shape);
    const bool drops = shape.keep != 1;
    const Tensor dy = g.rows(AttentionTensor::output_gradient), y = g.rows(AttentionTensor::output);
    const Tensor products =
        g.pointwise(CUDNN_POINTWISE_MUL, dy, y, g.made({shape.sequences, shape.heads, shape.queries, shape.width}));
    const Tensor sums = g.pointwise(CUDNN_POINTWISE_MUL, g.reduce(CUDNN_REDUCE_TENSOR_ADD, products),
                                    g.number(AttentionTensor::kept), g.statistics(AttentionTensor::sums));

    const Tensor padded = g.padded(g.scaled_scores());
    const Tensor logs = g.pointwise(CUDNN_POINTWISE_SUB, padded, g.statistics(AttentionTensor::statistics));
    const Tensor weights = g.pointwise(CUDNN_POINTWISE_EXP, g.causal(logs));
    Tensor used = weights;
    std::optional<Tensor> mask;
    if (drops) {
      mask = g.kept();
      used = g.pointwise(CUDNN_POINTWISE_MUL, g.pointwise(CUDNN_POINTWISE_MUL, weights, *mask),
                         g.number(AttentionTensor::kept_scale));
    }
    g.matmul(g.transposed(used), dy, g.rows(AttentionTensor::value_gradient), g.key_lengths_, {}, g.query_lengths_);

    Tensor gradient = g.matmul(dy, g.transposed_values(), g.scores(), g.query_lengths_, g.key_lengths_, {});
    if (drops) gradient = g.pointwise(CUDNN_POINTWISE_MUL, gradient, *mask);
    gradient = g.pointwise(CUDNN_POINTWISE_MUL, g.pointwise(CUDNN_POINTWISE_SUB, gradient, sums), weights);
    if (drops) gradient = g.pointwise(CUDNN_POINTWISE_MUL, gradient, g.number(AttentionTensor::kept_scale));
    gradient = g.pointwise(CUDNN_POINTWISE_MUL, gradient, g.number(AttentionTensor::scale), g.scores(shape.type));
    g.matmul(g.transposed(gradient), g.rows(AttentionTensor::query), g.rows(AttentionTensor::key_gradient),
             g.key_lengths_, {}, g.query_lengths_);
    const Tensor keys =
        g.reshaped(g.transposed_keys(), g.made({shape.sequences, shape.heads, shape.keys, shape.width}, shape.type));
    const auto sum_into = [&](AttentionTensor id) {
      return g.matmul(gradient, keys, g.rows(id), g.query_lengths_, {}, g.key_lengths_);
    };
    if (shape.ordered)
      sum_into(AttentionTensor::query_gradient);
    else
      g.pointwise(CUDNN_POINTWISE_IDENTITY, sum_into(AttentionTensor::query_sums), {},
                  g.rows(AttentionTensor::query_gradient));
    return g.finished();
  }

 private:
  using Extents = std::array<std::int64_t, 4>;

  struct Tensor {
    std::optional<Descriptor> descriptor;
    Extents extents;

    explicit operator bool() const { return descriptor.has_value(); }
  };

  explicit AttentionGraph(const AttentionShape& shape) : shape_(shape) {
    query_lengths_ = bound(AttentionTensor::query_lengths, {shape.sequences, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_DATA_INT32);
    key_lengths_ = bound(AttentionTensor::key_lengths, {shape.sequences, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_DATA_INT32);
  }

  static Descriptor described(std::int64_t id, const Extents& extents, const Extents& strides, cudnnDataType_t type) {
    Descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
        .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const std::int64_t>(extents))
        .set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const std::int64_t>(strides))
        .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{type == CUDNN_DATA_INT64 ? 8 : 16});
    return d;
  }
  static Extents contiguous(const Extents& e) { return {e[1] * e[2] * e[3], e[2] * e[3], e[3], 1}; }

  /// One that lies nowhere, but in the engine.
  Tensor made(const Extents& extents, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    Descriptor d = described(next_++, extents, contiguous(extents), type);
    return {d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true).finalize(), extents};
  }
  Tensor scores(cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    return made({shape_.sequences, shape_.heads, shape_.queries, shape_.keys}, type);
  }
  Tensor bound(AttentionTensor id, const Extents& extents, const Extents& strides, cudnnDataType_t type) {
    return {described(std::int64_t(id), extents, strides, type).finalize(), extents};
  }
  Tensor ragged(AttentionTensor id, AttentionTensor offsets, const Extents& extents, const Extents& strides,
                cudnnDataType_t type) {
    const Tensor of = bound(offsets, {shape_.sequences + 1, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_DATA_INT64);
    Descriptor d = described(std::int64_t(id), extents, strides, type);
    return {d.set(CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, *of.descriptor).finalize(), extents};
  }
  Tensor number(AttentionTensor id) {
    Descriptor d = described(std::int64_t(id), {1, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_DATA_FLOAT);
    return {d.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true).finalize(), {1, 1, 1, 1}};
  }

  struct Place {
    AttentionTensor offsets;
    std::int64_t rows, stride;
  };
  Place place(AttentionTensor id) const {
    using enum AttentionTensor;
    switch (id) {
      case key:
      case key_gradient:
        return {key_offsets, shape_.keys, shape_.key_stride};
      case value:
      case value_gradient:
        return {value_offsets, shape_.keys, shape_.value_stride};
      case output:
      case output_gradient:
        return {output_offsets, shape_.queries, shape_.output_stride};
      default:
        return {query_offsets, shape_.queries, shape_.query_stride};
    }
  }
  Tensor rows(AttentionTensor id) {
    const auto [offsets, count, stride] = place(id);
    return ragged(id, offsets, {shape_.sequences, shape_.heads, count, shape_.width},
                  {count * stride, shape_.width, stride, 1},
                  id == AttentionTensor::query_sums ? CUDNN_DATA_FLOAT : shape_.type);
  }
  Tensor columns(AttentionTensor id) {
    const auto [offsets, count, stride] = place(id);
    return ragged(id, offsets, {shape_.sequences, shape_.heads, shape_.width, count},
                  {count * stride, shape_.width, 1, stride}, shape_.type);
  }
  Tensor values() { return rows(AttentionTensor::value); }
  Tensor transposed_values() { return columns(AttentionTensor::value); }
  Tensor transposed_keys() { return columns(AttentionTensor::key); }
  Tensor statistics(AttentionTensor id) {
    return ragged(id, AttentionTensor::statistics_offsets, {shape_.sequences, shape_.heads, shape_.queries, 1},
                  {shape_.queries, shape_.statistics_stride, 1, 1}, CUDNN_DATA_FLOAT);
  }

  Tensor matmul(const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& m, const Tensor& n, const Tensor& k) {
    Descriptor what(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    what.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT).set(CUDNN_ATTR_MATMUL_PADDING_VALUE, 0.0).finalize();
    Descriptor d(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    d.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, *a.descriptor)
        .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, *b.descriptor)
        .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, *c.descriptor)
        .set(CUDNN_ATTR_OPERATION_MATMUL_DESC, what);
    if (m) d.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, *m.descriptor);
    if (n) d.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, *n.descriptor);
    if (k) d.set(CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, *k.descriptor);
    operations_.push_back(d.finalize());
    return c;
  }
  /// y = mode(x, b), where t says which of both if there is one. Without a y: one that lies nowhere.
  Tensor pointwise(cudnnPointwiseMode_t mode, const Tensor& x, const Tensor& b = {}, Tensor y = {},
                   const Tensor& t = {}, std::int64_t axis = -1) {
    if (!y) y = made(x.extents);
    Descriptor what(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    what.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    if (axis >= 0) what.set(CUDNN_ATTR_POINTWISE_AXIS, axis);
    Descriptor d(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    d.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what.finalize())
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, *x.descriptor);
    if (b) d.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b.descriptor);
    if (t) d.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, *t.descriptor);
    operations_.push_back(d.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, *y.descriptor).finalize());
    return y;
  }
  /// Over the last extent.
  Tensor reduce(cudnnReduceTensorOp_t op, const Tensor& x) {
    const Tensor y = made({x.extents[0], x.extents[1], x.extents[2], 1});
    Descriptor what(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    what.set(CUDNN_ATTR_REDUCTION_OPERATOR, op).set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT).finalize();
    Descriptor d(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    d.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, *x.descriptor).set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, *y.descriptor);
    operations_.push_back(d.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, what).finalize());
    return y;
  }
  Tensor reshaped(const Tensor& x, const Tensor& y) {
    Descriptor d(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    d.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, *x.descriptor).set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, *y.descriptor);
    operations_.push_back(d.finalize());
    return y;
  }
  /// Rows become columns: the same elements with strides that are swapped.
  Tensor transposed(const Tensor& x) {
    const Extents e{x.extents[0], x.extents[1], x.extents[3], x.extents[2]};
    Descriptor d = described(next_++, e, {e[1] * e[2] * e[3], e[2] * e[3], 1, e[2]}, shape_.type);
    return reshaped(x, {d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true).finalize(), e});
  }

  Tensor scaled_scores() {
    const Tensor products =
        matmul(rows(AttentionTensor::query), transposed_keys(), scores(), query_lengths_, key_lengths_, {});
    return pointwise(CUDNN_POINTWISE_MUL, products, number(AttentionTensor::scale));
  }
  Tensor index(const Tensor& of, std::int64_t axis, cudnnDataType_t type) {
    return pointwise(CUDNN_POINTWISE_GEN_INDEX, of, {}, scores(type), {}, axis);
  }
  /// -∞ behind the ends of the sequences.
  Tensor padded(const Tensor& x) {
    const Tensor row = index(x, 2, CUDNN_DATA_INT32), column = index(x, 3, CUDNN_DATA_INT32);
    const Tensor has_row = pointwise(CUDNN_POINTWISE_CMP_LT, row, query_lengths_, scores(CUDNN_DATA_BOOLEAN));
    const Tensor has_column = pointwise(CUDNN_POINTWISE_CMP_LT, column, key_lengths_, scores(CUDNN_DATA_BOOLEAN));
    const Tensor both = pointwise(CUDNN_POINTWISE_LOGICAL_AND, has_row, has_column, scores(CUDNN_DATA_BOOLEAN));
    return pointwise(CUDNN_POINTWISE_BINARY_SELECT, x, number(AttentionTensor::minus_infinity), {}, both);
  }
  /// -∞ where a key comes later than the query, if the shape is causal.
  Tensor causal(const Tensor& x) {
    if (!shape_.causal) return x;
    const Tensor row = index(x, 2, CUDNN_DATA_INT32), column = index(x, 3, CUDNN_DATA_INT32);
    const Tensor seen = pointwise(CUDNN_POINTWISE_CMP_GE, row, column, scores(CUDNN_DATA_BOOLEAN));
    return pointwise(CUDNN_POINTWISE_BINARY_SELECT, x, number(AttentionTensor::minus_infinity), {}, seen);
  }
  Tensor masked(const Tensor& x) { return causal(padded(x)); }
  /// 1 with the probability `keep`, else 0.
  Tensor kept() {
    Descriptor what(CUDNN_BACKEND_RNG_DESCRIPTOR);
    what.set(CUDNN_ATTR_RNG_DISTRIBUTION, CUDNN_RNG_DISTRIBUTION_BERNOULLI)
        .set(CUDNN_ATTR_RNG_BERNOULLI_DIST_PROBABILITY, shape_.keep)
        .finalize();
    const Tensor y = scores();
    const auto scalar = [&](AttentionTensor id) {
      return *bound(id, {1, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_DATA_INT64).descriptor;
    };
    Descriptor d(CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR);
    d.set(CUDNN_ATTR_OPERATION_RNG_YDESC, *y.descriptor)
        .set(CUDNN_ATTR_OPERATION_RNG_SEED, scalar(AttentionTensor::seed))
        .set(CUDNN_ATTR_OPERATION_RNG_OFFSET_DESC, scalar(AttentionTensor::seed_offset))
        .set(CUDNN_ATTR_OPERATION_RNG_DESC, what);
    operations_.push_back(d.finalize());
    return y;
  }

  Descriptor finished() const {
    Descriptor d(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    return d.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<const Descriptor>(operations_)).finalize();
  }

  AttentionShape shape_;
  std::vector<Descriptor> operations_;
  std::int64_t next_ = 1000;
  Tensor query_lengths_, key_lengths_;
};

}  // namespace fathom::inline FATHOM_ABI::cuda
