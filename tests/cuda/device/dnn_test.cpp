// SPDX-License-Identifier: Apache-2.0
// The emulated cuDNN: attention's graphs, as fathom makes them and as cuDNN itself plans them
// (tests/cuda/plan_test.cpp), against vectors computed by hand and against plain loops.
#include "dnn.hpp"

#include <cmath>
#include <cstdint>
#include <fathom/backend/cuda/attention_graph.hpp>
#include <fathom/core/half.hpp>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>
#include <type_traits>

#include "support.hpp"

namespace {
using namespace emulated_test;
using fathom::Bf16;
using fathom::CudaError;
using fathom::cuda::AttentionGraph;
using fathom::cuda::AttentionPlan;
using fathom::cuda::AttentionShape;
using fathom::cuda::AttentionTensor;
using fathom::cuda::Descriptor;
using enum AttentionTensor;

Descriptor the_device() {
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
                 {statistics_offsets, offsets(queries, shape.heads)}};
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
    run.bound[query_sums] = query_sums_at;
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
        e.statistics[std::size_t((Problem<T>::before(p.queries, s) + i) * shape.heads + h)] = std::log(sum);
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

TEST_CASE("cuDNN: attention of two rows, by hand", "[device]") {
  // The second query's first key has the score log 3, all others 0; values are 4 and 8.
  for (const bool causal : {false, true}) {
    fresh_device();
    Problem<float> p({.sequences = 1,
                      .heads = 1,
                      .width = 8,
                      .queries = 2,
                      .keys = 2,
                      .query_stride = 8,
                      .key_stride = 8,
                      .value_stride = 8,
                      .output_stride = 8,
                      .causal = causal},
                     {2}, {2});
    p.scale = float(std::log(3.0));
    p.q.assign(16, 0), p.k.assign(16, 0), p.v.assign(16, 4);
    p.q[8] = p.k[0] = 1;
    std::fill(p.v.begin() + 8, p.v.end(), 8.f);
    p.fill();
    p.forward();
    const auto y = values_at(p.y_at, 16), statistics = values_at(p.statistics_at, 2);
    CHECK(std::abs(y[0] - (causal ? 4 : 6)) < 1e-6);
    CHECK(std::abs(y[15] - 5) < 1e-6);
    CHECK(std::abs(statistics[0] - (causal ? 0 : std::numbers::ln2_v<float>)) < 1e-6);
    CHECK(std::abs(statistics[1] - 2 * std::numbers::ln2_v<float>) < 1e-6);
  }
}

AttentionShape packed(bool causal) {  // rows of (query, key, value), two heads of 8
  return {.sequences = 0,
          .heads = 2,
          .width = 8,
          .queries = 4,
          .keys = 4,
          .query_stride = 48,
          .key_stride = 48,
          .value_stride = 48,
          .output_stride = 16,
          .causal = causal};
}
AttentionShape crossed() {  // queries apart from rows of (key, value)
  return {.sequences = 0,
          .heads = 2,
          .width = 8,
          .queries = 3,
          .keys = 5,
          .query_stride = 16,
          .key_stride = 32,
          .value_stride = 32,
          .output_stride = 16};
}

TEST_CASE("cuDNN: ragged attention, forward and backward, and nothing beside it", "[device]") {
  const auto check = [](AttentionShape shape, std::vector<int> queries, std::vector<int> keys) {
    for (const Order order : {Order::forward, Order::reverse}) {
      fresh_device({.order = order});
      Problem<Bf16> p(shape, queries, keys);
      p.fill();
      const Expected e = expected(p);
      // y is rounded, and so are the weights before they meet v: half of 2⁻⁷ each, times values below 1.5.
      p.forward();
      require_near("y", p.y_at, e.y, 0.02);
      require_near("statistics", p.statistics_at, e.statistics, 1e-5);
      p.backward();
      require_near("dv", p.dv_at, e.dv, 0.03);
      require_near("dq", p.dq_at, e.dq, 0.05);
      require_near("dk", p.dk_at, e.dk, 0.05);
    }
  };
  check(packed(false), {3, 0, 4, 1}, {3, 0, 4, 1});
  check(packed(true), {4, 2}, {4, 2});
  check(crossed(), {3, 1}, {2, 5});
}

TEST_CASE("cuDNN: packed rows share one memory with their gaps", "[device]") {
  // Query, key and value are parts of one row, as are their gradients.
  fresh_device();
  Problem<Bf16> p(packed(true), {4, 2}, {4, 2});
  p.fill();
  const Expected e = expected(p);
  std::vector<Bf16> rows(p.q);
  for (std::size_t i = 0; i < rows.size(); ++i)
    rows[i] = i % 48 < 16 ? p.q[i] : i % 48 < 32 ? p.k[i - 16] : p.v[i - 32];
  Bf16 *const x = on_device(rows), *const dx = on_device(rows);
  p.q_at = x, p.k_at = x + 16, p.v_at = x + 32;
  p.dq_at = dx, p.dk_at = dx + 16, p.dv_at = dx + 32;
  p.forward();
  require_near("y", p.y_at, e.y, 0.02);
  p.backward();
  const auto gradients = values_at(dx, rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double wanted = i % 48 < 16 ? e.dq[i] : i % 48 < 32 ? e.dk[i - 16] : e.dv[i - 32];
    REQUIRE(std::abs(double(gradients[i]) - wanted) <= 0.05);
  }
}

TEST_CASE("cuDNN: dropout is the same forward and backward, and follows from the seed", "[device]") {
  fresh_device();
  AttentionShape shape = crossed();
  shape.keep = 0.5;
  Problem<Bf16> p(shape, {3, 3}, {5, 5});
  // Values are unit vectors, so y is the weights; so are the gradients of y, of which dv is the transpose.
  p.v.assign(std::size_t(10 * 32), Bf16(0.f));
  p.dy.assign(std::size_t(6 * 16), Bf16(0.f));
  p.q.assign(std::size_t(6 * 16), Bf16(0.f));  // all weights are 1/5
  for (int row = 0; row < 10; ++row)
    for (int h = 0; h < 2; ++h) p.v[std::size_t(row * 32 + h * 8 + row % 5)] = Bf16(1.f);
  for (int row = 0; row < 6; ++row)
    for (int h = 0; h < 2; ++h) p.dy[std::size_t(row * 16 + h * 8 + row % 3)] = Bf16(1.f);
  p.fill();
  p.forward();
  p.backward();
  const auto y = values_at(p.y_at, 6 * 16), dv = values_at(p.dv_at, 10 * 32);
  int kept = 0;
  for (int s = 0; s < 2; ++s)
    for (int h = 0; h < 2; ++h)
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 5; ++j) {
          const float weight = y[std::size_t((s * 3 + i) * 16 + h * 8 + j)];
          CHECK((weight == 0 || weight == float(Bf16(0.4f))));
          CHECK(float(dv[std::size_t((s * 5 + j) * 32 + h * 8 + i)]) == weight);
          kept += weight != 0;
        }
  CHECK((kept > 15 && kept < 45));  // of 60
}

// ---- what is refused

TEST_CASE("cuDNN: ragged offsets count elements", "[device]") {
  Device& device = fresh_device();
  Problem<Bf16> p(packed(false), {3, 2}, {3, 2});
  p.fill();
  Attention run(*fathom::cuda::make_plan(AttentionGraph::forward(p.shape), the_device()));
  p.bind(run, false);
  run.bound[query_offsets] = on_device<std::int64_t>({0, 3, 5});
  run();
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(
      mistaken({"ragged offsets 0 and 3 of tensor 1 are not 4 rows of 48 elements or fewer: offsets count elements"}));
  device.set_sticky(0);
  run.bound[query_offsets] = p.offsets({3, 2}, 48);
  run();
  CHECK(ok(cudaDeviceSynchronize()));
}

TEST_CASE("cuDNN: a variant pack binds what the graph reads and writes, where it says", "[device]") {
  fresh_device();
  Problem<Bf16> p(packed(false), {3, 2}, {3, 2});
  p.fill();
  Attention run(*fathom::cuda::make_plan(AttentionGraph::forward(p.shape), the_device()));
  p.bind(run, false);
  const auto bound = run.bound;
  const auto refused = [&](const std::string& text) {
    std::string what;
    try {
      run();
    } catch (const CudaError& error) {
      what = error.what();
    }
    INFO(what);
    CHECK(what.find(text) != std::string::npos);
    CHECK(mistaken({text}));
    run.bound = bound;
  };
  run.bound.erase(key);
  refused("the variant pack lacks tensor 2");
  run.bound[query_gradient] = p.dq_at;
  refused("which the graph does not read or write");
  run.bound[AttentionTensor::scale] = p.sums_at;
  refused("is by value: its address is the host's");
  run.bound[query] = p.q.data();
  refused("tensor 1: 2 bytes at no memory of the device");
  run.bound[value] = p.v_at + 1;
  refused("tensor 3 is not aligned to its 16 bytes");
}

TEST_CASE("cuDNN: what no engine takes has no plan, and that is no mistake", "[device]") {
  fresh_device();
  AttentionShape shape = packed(false);
  shape.sequences = 2;
  const auto plan = [&](bool backward) {
    return fathom::cuda::make_plan(backward ? AttentionGraph::backward(shape) : AttentionGraph::forward(shape),
                                   the_device())
        .has_value();
  };
  CHECK((plan(false) && plan(true)));
  shape.type = CUDNN_DATA_FLOAT;
  CHECK((plan(false) && !plan(true)));
  shape.type = CUDNN_DATA_BFLOAT16;
  shape.width = 12;
  CHECK((!plan(false) && !plan(true)));
  char text[200];
  cudnnGetLastErrorString(text, sizeof text);
  CHECK(std::string(text).find("multiple of 8") != std::string::npos);
}

TEST_CASE("cuDNN: descriptors are set before they are finalized, by attributes that they have", "[device]") {
  fresh_device();
  const auto refused = [](auto&& call, const std::string& text) {
    std::string what;
    try {
      call();
    } catch (const CudaError& error) {
      what = error.what();
    }
    INFO(what);
    CHECK(what.find(text) != std::string::npos);
    CHECK(mistaken({text}));
  };
  Descriptor matmul(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  refused([&] { matmul.finalize(); }, "lacks attribute 1500");
  refused([&] { matmul.set(CUDNN_ATTR_MATMUL_COMP_TYPE, std::int64_t{0}); }, "is of type 1, not 3");
  refused([&] { matmul.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT); }, "is not one of a descriptor of type");
  matmul.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  Descriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  refused([&] { operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, matmul); }, "not finalized");
  matmul.finalize();
  refused([&] { matmul.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT); }, "finalized already");
  refused([] { (void)Descriptor{CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR}; }, "are not emulated");
}

TEST_CASE("cuDNN: plans are made before a capture, and run in it", "[device]") {
  Device& device = fresh_device();
  {
    cudaStream_t stream = new_stream();
    Problem<Bf16> p(packed(true), {4, 2}, {4, 2});
    p.fill();
    const Expected e = expected(p);
    const Descriptor graph = AttentionGraph::forward(p.shape), properties = the_device();
    Attention run(*fathom::cuda::make_plan(graph, properties));
    p.bind(run, false);
    REQUIRE(ok(cudaDeviceSynchronize()));
    REQUIRE(ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed)));
    CHECK_THROWS_AS(fathom::cuda::make_plan(graph, properties), CudaError);
    CHECK(mistaken({"heuristics are asked while a stream captures"}));
    run(stream);
    p.scale = 99;  // was read at the call
    cudaGraph_t captured = nullptr;
    cudaGraphExec_t exec = nullptr;
    REQUIRE(ok(cudaStreamEndCapture(stream, &captured)));
    std::size_t nodes = 0;
    CHECK(ok(cudaGraphGetNodes(captured, nullptr, &nodes)));
    CHECK(nodes == 1);
    REQUIRE(ok(cudaGraphInstantiate(&exec, captured, 0)));
    REQUIRE(ok(cudaGraphLaunch(exec, stream)));
    require_near("y", p.y_at, e.y, 0.02);
    CHECK(ok(cudaGraphExecDestroy(exec)));
    CHECK(ok(cudaGraphDestroy(captured)));
    CHECK(ok(cudaStreamDestroy(stream)));
  }
  for (const std::string& leak : device.leaks()) CHECK(leak.find("cuDNN") == std::string::npos);
}

TEST_CASE("cuDNN: every call can fail, and nothing leaks", "[device]") {
  Device& device = fresh_device();
  AttentionShape shape = packed(true);
  shape.sequences = 2;
  const auto program = [&] { return fathom::cuda::make_plan(AttentionGraph::backward(shape), the_device()); };
  REQUIRE(program());
  const std::int64_t calls = device.calls();
  int failed = 0;
  for (std::int64_t at = 0; at < calls; ++at) {
    device.reset();
    device.inject({.at = at});
    try {
      (void)program();
    } catch (const CudaError& error) {
      ++failed;
      REQUIRE(std::string(error.what()).find("made to fail") != std::string::npos);
    }
    REQUIRE(device.leaks().empty());
    REQUIRE((failed > 0 || device.injected() == "cudnnBackendDestroyDescriptor"));
  }
  CHECK(failed > 300);
  CHECK(cudnnGetVersion() == CUDNN_VERSION);
  device.reset({.library_version = 90100});
  CHECK(cudnnGetVersion() == 90100);
}

}  // namespace
