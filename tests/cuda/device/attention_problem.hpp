// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/attention_graph.hpp>
#include <fathom/backend/cuda/attention_plan.hpp>
#include <fathom/core/half.hpp>
#include <limits>
#include <map>
#include <numeric>
#include <type_traits>
#include <utility>

#include "support.hpp"

/// Problems of attention for cuDNN, and what plain loops give.
namespace emulated_test {
using fathom::Bf16;
using fathom::CudaError;
using fathom::cuda::AttentionGraph;
using fathom::cuda::AttentionPlan;
using fathom::cuda::AttentionShape;
using fathom::cuda::AttentionTensor;
using fathom::cuda::Descriptor;
using enum AttentionTensor;

inline Descriptor the_device() {
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  return device.set(CUDNN_ATTR_DEVICEPROP_DEVICE_ID, std::int32_t{0}).finalize();
}

/// Binds addresses to a plan, and runs it in a stream.
class Attention {
 public:
  explicit Attention(const AttentionPlan& plan) : plan_(plan) {
    REQUIRE(cudnnCreate(&handle_) == CUDNN_STATUS_SUCCESS);
    REQUIRE(ok(cudaMalloc(&workspace_, std::size_t(plan.workspace_bytes))));
  }
  ~Attention() {
    CHECK(ok(cudaFree(workspace_)));
    CHECK(cudnnDestroy(handle_) == CUDNN_STATUS_SUCCESS);
  }
  Attention(const Attention&) = delete;
  Attention& operator=(const Attention&) = delete;

  std::map<AttentionTensor, const void*> bound;

  void operator()(cudaStream_t stream = nullptr) {
    std::vector<std::int64_t> ids;
    std::vector<void*> addresses;
    for (const auto& [id, address] : bound) {
      ids.push_back(std::int64_t(id));
      addresses.push_back(const_cast<void*>(address));
    }
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const std::int64_t>(ids))
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>(addresses))
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace_)
        .finalize();
    fathom::cuda::check(cudnnSetStream(handle_, stream), "cudnnSetStream");
    fathom::cuda::check(cudnnBackendExecute(handle_, plan_.plan.get(), pack.get()), "cudnnBackendExecute");
  }

 private:
  AttentionPlan plan_;
  cudnnHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
};

/// A problem of several sequences, its operands on the device, and what plain loops give.
template <class T>
struct Problem {
  AttentionShape shape;
  std::vector<int> queries, keys;  ///< of each sequence
  float scale = 0.5, minus = -std::numeric_limits<float>::infinity(), kept_scale = 1, kept = 1;

  std::vector<T> q, k, v, dy;
  T *q_at, *k_at, *v_at, *y_at, *dy_at, *dq_at, *dk_at, *dv_at;
  float *statistics_at, *sums_at, *query_sums_at;

  static constexpr double sentinel = 77;

  Problem(AttentionShape of, std::vector<int> query_rows, std::vector<int> key_rows)
      : shape(of), queries(std::move(query_rows)), keys(std::move(key_rows)) {
    shape.type = std::is_same_v<T, float> ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
    shape.sequences = std::ssize(queries);
    shape.statistics_stride = this->query_rows() + 1;
    kept = float(shape.keep);
    kept_scale = float(1 / shape.keep);
  }

  int query_rows() const { return std::accumulate(queries.begin(), queries.end(), 0); }
  int key_rows() const { return std::accumulate(keys.begin(), keys.end(), 0); }
  static int before(const std::vector<int>& lengths, std::int64_t s) {
    return std::accumulate(lengths.begin(), lengths.begin() + s, 0);
  }

  /// Numbers for all operands; one row more than is used holds what nobody may touch.
  void fill() {
    const auto numbers = [](std::int64_t count, int seed) {
      std::vector<T> list;
      for (std::int64_t i = 0; i < count; ++i) list.emplace_back(T(float((i * 7 + seed * 13) % 11 - 5) / 4));
      return list;
    };
    if (q.empty()) q = numbers(query_rows() * shape.query_stride, 1);
    if (k.empty()) k = numbers(key_rows() * shape.key_stride, 2);
    if (v.empty()) v = numbers(key_rows() * shape.value_stride, 3);
    if (dy.empty()) dy = numbers(query_rows() * shape.output_stride, 4);
    const auto blank = [](auto type, std::int64_t count) {
      return on_device(std::vector(std::size_t(count), decltype(type)(float(sentinel))));
    };
    q_at = on_device(q), k_at = on_device(k), v_at = on_device(v), dy_at = on_device(dy);
    y_at = blank(T(), (query_rows() + 1) * shape.output_stride);
    dq_at = blank(T(), (query_rows() + 1) * shape.query_stride);
    dk_at = blank(T(), (key_rows() + 1) * shape.key_stride);
    dv_at = blank(T(), (key_rows() + 1) * shape.value_stride);
    statistics_at = blank(0.f, (query_rows() + 1) * shape.heads);
    sums_at = blank(0.f, (query_rows() + 1) * shape.heads);
    query_sums_at = blank(0.f, (query_rows() + 1) * shape.query_stride);
  }

  std::int64_t* offsets(const std::vector<int>& lengths, std::int64_t stride) const {
    std::vector<std::int64_t> list{0};
    for (const int length : lengths) list.push_back(list.back() + length * stride);
    return on_device(list);
  }

  void bind(Attention& run, bool backward) const {
    run.bound = {{query, q_at},
                 {key, k_at},
                 {value, v_at},
                 {output, y_at},
                 {statistics, statistics_at},
                 {AttentionTensor::scale, &scale},
                 {minus_infinity, &minus},
                 {query_lengths, on_device(queries)},
                 {key_lengths, on_device(keys)},
                 {query_offsets, offsets(queries, shape.query_stride)},
                 {key_offsets, offsets(keys, shape.key_stride)},
                 {value_offsets, offsets(keys, shape.value_stride)},
                 {output_offsets, offsets(queries, shape.output_stride)},
                 {statistics_offsets, offsets(queries, 1)}};
    if (shape.keep != 1) {
      run.bound[AttentionTensor::kept_scale] = &kept_scale;
      run.bound[seed] = on_device<std::int64_t>({5});
      run.bound[seed_offset] = on_device<std::int64_t>({9});
    }
    if (!backward) return;
    run.bound[AttentionTensor::kept] = &kept;
    run.bound[output_gradient] = dy_at;
    run.bound[query_gradient] = dq_at;
    run.bound[key_gradient] = dk_at;
    run.bound[value_gradient] = dv_at;
    run.bound[sums] = sums_at;
    if (!shape.ordered) run.bound[query_sums] = query_sums_at;
  }

  void forward() {
    Attention run(*fathom::cuda::make_plan(AttentionGraph::forward(shape), the_device()));
    bind(run, false);
    run();
  }
  void backward() {
    Attention run(*fathom::cuda::make_plan(AttentionGraph::backward(shape), the_device()));
    bind(run, true);
    run();
  }
};

struct Expected {
  std::vector<double> y, statistics, dq, dk, dv;
};

/// The same by plain loops in double, without dropout.
template <class T>
Expected expected(const Problem<T>& p) {
  const AttentionShape& shape = p.shape;
  const double nothing = Problem<T>::sentinel;
  const auto blank = [&](std::int64_t count) { return std::vector<double>(std::size_t(count), nothing); };
  Expected e{blank((p.query_rows() + 1) * shape.output_stride), blank((p.query_rows() + 1) * shape.heads),
             blank((p.query_rows() + 1) * shape.query_stride), blank((p.key_rows() + 1) * shape.key_stride),
             blank((p.key_rows() + 1) * shape.value_stride)};
  for (std::int64_t s = 0; s < shape.sequences; ++s)
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const int n = p.queries[std::size_t(s)], m = p.keys[std::size_t(s)];
      const auto at = [&](const std::vector<int>& lengths, std::int64_t stride, int row, std::int64_t c) {
        return std::size_t((Problem<T>::before(lengths, s) + row) * stride + h * shape.width + c);
      };
      const auto q = [&](int i, std::int64_t c) { return at(p.queries, shape.query_stride, i, c); };
      const auto k = [&](int j, std::int64_t c) { return at(p.keys, shape.key_stride, j, c); };
      const auto v = [&](int j, std::int64_t c) { return at(p.keys, shape.value_stride, j, c); };
      const auto y = [&](int i, std::int64_t c) { return at(p.queries, shape.output_stride, i, c); };
      for (int j = 0; j < m; ++j)
        for (std::int64_t c = 0; c < shape.width; ++c) e.dk[k(j, c)] = e.dv[v(j, c)] = 0;
      for (int i = 0; i < n; ++i) {
        const int seen = shape.causal ? std::min(i + 1, m) : m;
        std::vector<double> weights;
        double sum = 0, dot = 0;
        for (int j = 0; j < seen; ++j) {
          double score = 0;
          for (std::int64_t c = 0; c < shape.width; ++c) score += double(p.q[q(i, c)]) * double(p.k[k(j, c)]);
          weights.push_back(std::exp(score * double(p.scale)));
          sum += weights.back();
        }
        e.statistics[std::size_t(h * shape.statistics_stride + Problem<T>::before(p.queries, s) + i)] = std::log(sum);
        for (std::int64_t c = 0; c < shape.width; ++c) {
          e.y[y(i, c)] = e.dq[q(i, c)] = 0;
          for (int j = 0; j < seen; ++j) e.y[y(i, c)] += weights[std::size_t(j)] / sum * double(p.v[v(j, c)]);
          dot += e.y[y(i, c)] * double(p.dy[y(i, c)]);
        }
        for (int j = 0; j < seen; ++j) {
          const double weight = weights[std::size_t(j)] / sum;
          double gradient = -dot;
          for (std::int64_t c = 0; c < shape.width; ++c) gradient += double(p.dy[y(i, c)]) * double(p.v[v(j, c)]);
          gradient *= weight * double(p.scale);
          for (std::int64_t c = 0; c < shape.width; ++c) {
            e.dv[v(j, c)] += weight * double(p.dy[y(i, c)]);
            e.dq[q(i, c)] += gradient * double(p.k[k(j, c)]);
            e.dk[k(j, c)] += gradient * double(p.q[q(i, c)]);
          }
        }
      }
    }
  return e;
}

template <class T>
void require_near(const char* what, const T* at, const std::vector<double>& wanted, double bound) {
  const auto values = values_at(at, wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    INFO(what << ", element " << i << ": " << double(values[i]) << ", expected " << wanted[i]);
    REQUIRE(std::abs(double(values[i]) - wanted[i]) <= bound);
  }
}

inline AttentionShape packed(bool causal) {  // rows of (query, key, value), two heads of 8
  return {.sequences = 0,
          .heads = 2,
          .width = 8,
          .queries = 4,
          .keys = 4,
          .query_stride = 48,
          .key_stride = 48,
          .value_stride = 48,
          .output_stride = 16,
          .statistics_stride = 0,
          .causal = causal};
}
inline AttentionShape crossed() {  // queries apart from rows of (key, value)
  return {.sequences = 0,
          .heads = 2,
          .width = 8,
          .queries = 3,
          .keys = 5,
          .query_stride = 16,
          .key_stride = 32,
          .value_stride = 32,
          .output_stride = 16,
          .statistics_stride = 0};
}

}  // namespace emulated_test
