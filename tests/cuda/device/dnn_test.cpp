// SPDX-License-Identifier: Apache-2.0
// The emulated cuDNN: attention's graphs, as fathom makes them and as cuDNN itself plans them
// (tests/cuda/plan_test.cpp), against vectors computed by hand and against plain loops.
#include "dnn.hpp"

#include <numbers>

#include "attention_problem.hpp"

namespace dnn_test {

using namespace emulated_test;

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
                      .statistics_stride = 0,
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

TEST_CASE("cuDNN: ragged attention, forward and backward, and nothing beside it", "[device]") {
  const auto check = [](AttentionShape shape, std::vector<int> queries, std::vector<int> keys) {
    for (const Order order : {Order::forward, Order::reverse}) {
      shape.ordered = order == Order::forward;
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

}  // namespace dnn_test
