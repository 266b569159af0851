// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <fathom/backend/cpu/attention.hpp>
#include <limits>
#include <random>
#include <vector>

#include "guarded.hpp"

namespace attention_test {

namespace cpu = fathom::cpu;

/// Drops about a quarter of the probabilities, by a hash of the indices.
struct HashDropout {
  static constexpr bool active = true;

  static double factor(std::size_t head, std::size_t query, std::size_t key) {
    std::uint64_t x = (head * 4099 + query) * 4099 + key + 1;
    x = (x ^ x >> 31) * 0x9E3779B97F4A7C15u;
    return (x >> 40) % 4 == 0 ? 0 : 1 / 0.75;
  }

  template <class T>
  void operator()(std::size_t head, std::size_t query, std::size_t key, T* factors) const {
    REQUIRE(key % 4 == 0);
    for (std::size_t c = 0; c < 4; ++c)
      for (std::size_t l = 0; l < cpu::simd_width<T>; ++l)
        factors[c * cpu::simd_width<T> + l] = static_cast<T>(factor(head, query + l, key + c));
  }
};

struct Case {
  std::size_t queries, keys, width, group;
  bool causal, dropout = false;
};

/// Everything in double by the definition; matrices are packed, (queries, group · width) and (keys, width).
struct Expected {
  std::vector<double> o, lse, dq, dk, dv;
};

template <class T>
Expected expect(const Case& c, double scale, const Guarded<T>& q, const Guarded<T>& k, const Guarded<T>& v,
                const Guarded<T>& d_o, std::size_t kv_stride, std::size_t q_stride) {
  const std::size_t columns = c.group * c.width;
  Expected e{std::vector<double>(c.queries * columns), std::vector<double>(c.queries * c.group),
             std::vector<double>(c.queries * columns), std::vector<double>(c.keys * c.width),
             std::vector<double>(c.keys * c.width)};
  std::vector<double> p(c.keys), dp(c.keys);
  for (std::size_t g = 0; g < c.group; ++g)
    for (std::size_t i = 0; i < c.queries; ++i) {
      const auto last = static_cast<std::ptrdiff_t>(i + c.keys) - static_cast<std::ptrdiff_t>(c.queries);
      const std::size_t seen = c.causal ? static_cast<std::size_t>(std::max<std::ptrdiff_t>(0, last + 1)) : c.keys;
      const std::size_t row = i * q_stride + g * c.width, packed = i * columns + g * c.width;
      double greatest = -INFINITY, sum = 0, d = 0;
      for (std::size_t j = 0; j < seen; ++j) {
        p[j] = 0;
        for (std::size_t x = 0; x < c.width; ++x) p[j] += scale * q[row + x] * k[j * kv_stride + x];
        greatest = std::max(greatest, p[j]);
      }
      for (std::size_t j = 0; j < seen; ++j) sum += std::exp(p[j] - greatest);
      const double lse = e.lse[g * c.queries + i] = greatest + std::log(sum);
      for (std::size_t j = 0; j < seen; ++j) {
        const double factor = c.dropout ? HashDropout::factor(g, i, j) : 1;
        p[j] = std::exp(p[j] - lse);
        dp[j] = 0;
        for (std::size_t x = 0; x < c.width; ++x) {
          e.o[packed + x] += p[j] * factor * v[j * kv_stride + x];
          e.dv[j * c.width + x] += p[j] * factor * d_o[row + x];
          dp[j] += factor * d_o[row + x] * v[j * kv_stride + x];
        }
        d += p[j] * dp[j];
      }
      for (std::size_t j = 0; j < seen; ++j)
        for (std::size_t x = 0; x < c.width; ++x) {
          e.dq[packed + x] += scale * p[j] * (dp[j] - d) * k[j * kv_stride + x];
          e.dk[j * c.width + x] += scale * p[j] * (dp[j] - d) * q[row + x];
        }
    }
  return e;
}

/// A copy of rows of a larger matrix; what lies between them must be untouched.
template <class T>
Guarded<T> packed(const Guarded<T>& m, std::size_t rows, std::size_t width, std::size_t stride) {
  Guarded<T> copy(rows * width);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < stride; ++j)
      if (j < width)
        copy[i * width + j] = m[i * stride + j];
      else
        REQUIRE(std::isnan(m[i * stride + j]));
  REQUIRE(m.intact());
  return copy;
}

template <class T>
void check(const Case& c, double spread = 1) {
  INFO("queries " << c.queries << ", keys " << c.keys << ", width " << c.width << ", group " << c.group << ", causal "
                  << c.causal << ", dropout " << c.dropout << ", spread " << spread);
  const double tolerance = (sizeof(T) == 8 ? 1e-13 : 2e-5) * spread * spread;
  std::mt19937 random(static_cast<unsigned>(c.queries * 31 + c.keys * 7 + c.width));
  const std::size_t columns = c.group * c.width, q_stride = columns + 5, kv_stride = c.width + 3;
  const double scale = 1 / std::sqrt(static_cast<double>(c.width));
  const Guarded<T> q(c.queries * q_stride, random, spread), k(c.keys * kv_stride, random, spread),
      v(c.keys * kv_stride, random), d_o(c.queries * q_stride, random);
  const cpu::AttentionShape<T> shape{c.queries, c.keys, c.width, c.group, c.causal, static_cast<T>(scale)};
  const Expected e = expect(c, shape.scale, q, k, v, d_o, kv_stride, q_stride);

  Guarded<T> o(c.queries * q_stride), lse(c.queries * c.group), forward(cpu::attention_forward_scratch(shape));
  const auto with_dropout = [&](auto&& f) {
    if (c.dropout)
      f(HashDropout{});
    else
      f(cpu::NoDropout{});
  };
  with_dropout([&](const auto& dropout) {
    cpu::attention_forward<T>(shape, {q, q_stride}, {k, kv_stride}, {v, kv_stride}, {o, q_stride}, {lse, c.queries},
                              forward, dropout);
  });
  CHECK(difference(packed(o, c.queries, columns, q_stride), e.o) < tolerance);
  Guarded<T> restored(c.queries * q_stride);
  for (const cpu::AttentionOutput<T> output :
       {cpu::AttentionOutput<T>{.given = {o, q_stride}}, cpu::AttentionOutput<T>{.restored = {restored, q_stride}}}) {
    Guarded<T> dq(c.queries * q_stride), dk(c.keys * kv_stride), dv(c.keys * kv_stride),
        backward(cpu::attention_backward_scratch(shape));
    with_dropout([&](const auto& dropout) {
      cpu::attention_backward<T>(shape, {q, q_stride}, {k, kv_stride}, {v, kv_stride}, output, {lse, c.queries},
                                 {d_o, q_stride}, {dq, q_stride}, {dk, kv_stride}, {dv, kv_stride}, nullptr, backward,
                                 dropout);
    });
    CHECK(difference(packed(dq, c.queries, columns, q_stride), e.dq) < 4 * tolerance);
    CHECK(difference(packed(dk, c.keys, c.width, kv_stride), e.dk) < 4 * tolerance);
    CHECK(difference(packed(dv, c.keys, c.width, kv_stride), e.dv) < 4 * tolerance);
    CHECK(backward.intact());
  }
  CHECK(difference(packed(restored, c.queries, columns, q_stride), e.o) < 4 * tolerance);
  for (std::size_t i = 0; i < e.lse.size(); ++i)
    REQUIRE((lse[i] == e.lse[i] || std::abs(lse[i] - e.lse[i]) < tolerance * std::max(1.0, std::abs(e.lse[i]))));
  CHECK((lse.intact() && forward.intact()));
}

TEMPLATE_TEST_CASE("attention and its gradients equal the definition", "[attention]", float, double) {
  for (bool causal : {false, true}) {
    for (std::size_t length : {1, 2, 7, 16, 17, 31, 64, 100})
      for (std::size_t width : {4, 8, 13, 16, 32, 37, 64}) check<TestType>({length, length, width, 1, causal});
    check<TestType>({33, 33, 128, 1, causal});
    check<TestType>({257, 257, 16, 1, causal});
    for (std::size_t group : {2, 3}) check<TestType>({47, 47, 16, group, causal});
    // Cross attention, or new queries at the end of a cache.
    check<TestType>({5, 61, 16, 1, causal});
    check<TestType>({40, 131, 20, 2, causal});
    // A few new queries, as in decoding.
    for (std::size_t queries : {1, 3, 8, 9})
      for (std::size_t width : {5, 16, 40, 64}) check<TestType>({queries, 203, width, 2, causal});
    // More queries than keys: the first see nothing if causal.
    check<TestType>({61, 5, 16, 1, causal});
    check<TestType>({67, 3, 8, 2, causal});
    check<TestType>({4, 2, 16, 2, causal});
  }
}

TEMPLATE_TEST_CASE("attention with dropout differentiates what it computes", "[attention]", float, double) {
  for (bool causal : {false, true}) {
    check<TestType>({1, 1, 8, 1, causal, true});
    check<TestType>({70, 70, 16, 1, causal, true});
    check<TestType>({50, 50, 20, 2, causal, true});
    check<TestType>({19, 41, 16, 1, causal, true});
    check<TestType>({149, 149, 8, 1, causal, true});
  }
}

TEST_CASE("attention with large scores neither overflows nor loses the softmax", "[attention]") {
  check<double>({150, 150, 16, 1, true}, 20);
  check<float>({150, 150, 16, 1, true}, 8);
}

TEST_CASE("a query that sees no key gets zero and contributes nothing", "[attention]") {
  const cpu::AttentionShape<float> shape{3, 1, 4, 1, true, 1};
  const Guarded<float> q(12, 1.0f), k(4, 1.0f), v(4, 2.0f), d_o(12, 1.0f);
  Guarded<float> o(12), lse(3), dq(12), dk(4), dv(4), forward(cpu::attention_forward_scratch(shape)),
      backward(cpu::attention_backward_scratch(shape));
  cpu::attention_forward<float>(shape, {q, 4}, {k, 4}, {v, 4}, {o, 4}, {lse, 3}, forward);
  cpu::attention_backward<float>(shape, {q, 4}, {k, 4}, {v, 4}, {.restored = {o, 4}}, {lse, 3}, {d_o, 4}, {dq, 4},
                                 {dk, 4}, {dv, 4}, nullptr, backward);
  CHECK(o[0] == 0);
  CHECK(lse[0] == -std::numeric_limits<float>::infinity());
  CHECK(o[8] == 2);
  CHECK(lse[2] == 4);
  CHECK(difference(dv, std::vector<double>(4, 1.0)) == 0);
  CHECK(difference(dq, std::vector<double>(12, 0.0)) == 0);
}

TEST_CASE("a NaN in a query, key or value reaches the output", "[attention]") {
  const std::size_t n = 40, width = 16;
  std::mt19937 random(5);
  for (int which : {0, 1, 2})
    for (float bad : {std::nanf(""), INFINITY}) {
      if (which == 1 && std::isinf(bad)) continue;  // a score of -infinity is an honest zero probability
      Guarded<float> m[3] = {{n * width, random}, {n * width, random}, {n * width, random}};
      m[which][20 * width + 3] = bad;
      const cpu::AttentionShape<float> shape{n, n, width, 1, true, 0.25f};
      Guarded<float> o(n * width), lse(n), scratch(cpu::attention_forward_scratch(shape));
      cpu::attention_forward<float>(shape, {m[0], width}, {m[1], width}, {m[2], width}, {o, width}, {lse, n}, scratch);
      CHECK_FALSE(std::isfinite(o[20 * width + 3]));
    }
}

}  // namespace attention_test
