// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/core/random.hpp>
#include <functional>
#include <vector>

#include "support/ops.hpp"

namespace ref_test {

// The contracts of ops.hpp that neither gradients nor PyTorch show.
using namespace fathom_test;
using P = Double;

const double nan = std::numeric_limits<double>::quiet_NaN();
constexpr ActivationKind kinds[] = {ActivationKind::relu, ActivationKind::gelu, ActivationKind::gelu_tanh,
                                    ActivationKind::silu};

Values random(int rows, int columns, std::uint64_t seed) {
  Values values(rows, columns);
  for (std::size_t i = 0; i < values.data.size(); ++i) values.data[i] = normals(Philox(Key{seed})(i))[0];
  return values;
}

TEST_CASE("dropout of rows follows sequence, row and column", "[ref]") {
  const PackedRows packed = pack({3, 1, 2});
  const Dropout dropout{0.3, Key{7}};
  const int width = 11;
  Values expected(6, width);
  for (int n = 0; n < 6; ++n) {
    const int sequence = n < 3 ? 0 : n < 4 ? 1 : 2, row = n - std::vector{0, 3, 4}[std::size_t(sequence)];
    for (int c = 0; c < width; ++c)
      expected.data[std::size_t(n * width + c)] = dropout.factors<double>(sequence, 0, row, c / 8)[std::size_t(c % 8)];
  }
  const Values ones(6, width, 1), zeros(6, width, 0);
  Values y = like(ones);
  run(packed, op::Activation<P>{.kind = ActivationKind::relu, .dropout = dropout, .x = ones, .y = y});
  REQUIRE(y.data == expected.data);
  run(packed, op::ResidualAdd<P>{.x = zeros, .f = ones, .a = {}, .b = {}, .dropout = dropout, .y = y});
  REQUIRE(y.data == expected.data);
  const std::vector<int> tokens(6, 0);
  run(packed, op::Embedding<P>{.tokens = tokens,
                               .table = Values(1, width, 1),
                               .positions = {},
                               .sinusoids = {},
                               .dropout = dropout,
                               .y = y});
  REQUIRE(y.data == expected.data);
}

TEST_CASE("dropout of attention follows sequence, head, query and key", "[ref]") {
  const PackedRows packed = pack({2, 4});
  const Packing packing = packed;
  const Dropout dropout{0.3, Key{7}};
  // Equal scores, and values that show each key's probability in a column of its own.
  const Values q(6, 2 * 4, 0);
  Values v(6, 2 * 4, 0), o = like(q), lse(2, 6);
  for (int n = 0; n < 6; ++n)
    for (int h = 0; h < 2; ++h) v.data[std::size_t(n * 8 + h * 4 + (n < 2 ? n : n - 2))] = 1;
  run(packed, op::AttentionForward<P>{.heads = 2,
                                      .kv_heads = 2,
                                      .head_width = 4,
                                      .causal = true,
                                      .scale = 1,
                                      .dropout = dropout,
                                      .packing = &packing,
                                      .key_packing = &packing,
                                      .q = q,
                                      .k = q,
                                      .v = v,
                                      .bias = {},
                                      .cache = {},
                                      .o = o,
                                      .lse = lse});
  for (int s = 0; s < 2; ++s)
    for (int h = 0; h < 2; ++h)
      for (int i = 0; i < packing.length(s); ++i)
        for (int j = 0; j < 4; ++j) {
          const double keep = dropout.factors<double>(s, h, i, 0)[std::size_t(j)];
          const double actual = o.data[std::size_t((packing.offsets[s] + i) * 8 + h * 4 + j)];
          REQUIRE(std::abs(actual - (j <= i ? keep / (i + 1) : 0)) < 1e-15);
        }
}

TEST_CASE("a sequence that is read in two pieces gets the dropout that it gets as a whole", "[ref]") {
  constexpr int length = 9, first = 4, width = 4;
  const Dropout dropout{0.3, Key{7}};
  const Values x = random(length, width, 1), q = random(length, width, 2), k = random(length, width, 3);
  const auto rows_from = [](const Values& of, int row) {
    return Values({of.data.begin() + row * width, of.data.end()}, width);
  };
  // y and o of the last rows; a cache holds the keys and values of those before them.
  const auto read = [&](int past, Values& cache_keys, Values& cache_values) {
    PackedRows packed({length, 1, length});
    packed.assign(std::vector{length - past}, std::vector{past});
    const Packing packing = packed;
    const Values own_x = rows_from(x, past), own_q = rows_from(q, past), own_k = rows_from(k, past);
    Values y = like(own_x), o = like(own_q), lse(1, length - past);
    run(packed, op::Activation<P>{.kind = ActivationKind::gelu, .dropout = dropout, .x = own_x, .y = y});
    run(packed, op::AttentionForward<P>{.heads = 1,
                                        .kv_heads = 1,
                                        .head_width = width,
                                        .causal = true,
                                        .scale = 1,
                                        .dropout = dropout,
                                        .packing = &packing,
                                        .key_packing = &packing,
                                        .q = own_q,
                                        .k = own_k,
                                        .v = own_k,
                                        .bias = {},
                                        .cache = {cache_keys.data.data(), cache_values.data.data(), length},
                                        .o = o,
                                        .lse = lse});
    return std::pair(y, o);
  };
  Values keys(length, width), values(length, width);
  const auto whole = read(0, keys, values);
  const auto last = read(first, keys, values);
  REQUIRE(last.first.data == rows_from(whole.first, first).data);
  REQUIRE(last.second.data == rows_from(whole.second, first).data);
}

TEST_CASE("a NaN that goes in comes out", "[ref]") {
  const PackedRows packed = one_sequence(1);
  for (const ActivationKind kind : kinds) {
    const Values x(1, 1, nan), dy(1, 1, 1);
    Values y(1, 1, 0), dx(1, 1, 0);
    run(packed, op::Activation<P>{.kind = kind, .dropout = {}, .x = x, .y = y});
    run(packed, op::ActivationBackward<P>{.kind = kind, .dropout = {}, .x = x, .dy = dy, .dx = dx, .y = y});
    REQUIRE(std::isnan(y.data[0]));
    REQUIRE(std::isnan(dx.data[0]));
  }
  for (const int bad : {0, 1}) {
    Values weight(2, 1, 1);
    weight.data[std::size_t(bad)] = nan;
    LossSums sums;
    const int target = 0;
    run(packed, op::LinearCrossEntropy<P>{.x = Values(1, 1, 1),
                                          .weight = weight,
                                          .bias = {},
                                          .targets = {&target, 1},
                                          .options = {},
                                          .sums = &sums,
                                          .dx = {},
                                          .dweight = {},
                                          .dbias = {}});
    REQUIRE(std::isnan(sums.cross_entropy));
  }
  double weight = 1, gradient = nan, momentum = 0;
  run(packed, op::LionUpdate<P>{.target = {.weights = {&weight, 1}, .gradient = {&gradient, 1}, .learning_rate = 1},
                                .momentum = {&momentum, 1},
                                .beta1 = 0.9,
                                .beta2 = 0.9});
  REQUIRE(std::isnan(weight));
  REQUIRE(gradient == 0);
}

TEST_CASE("masked keys do not reach earlier queries, not even as NaN", "[ref]") {
  const PackedRows packed = one_sequence(3);
  const Packing packing = packed;
  Values q = random(3, 4, 1), o = like(q), lse(1, 3);
  for (int c = 8; c < 12; ++c) q.data[std::size_t(c)] = nan;
  run(packed, op::AttentionForward<P>{.heads = 1,
                                      .kv_heads = 1,
                                      .head_width = 4,
                                      .causal = true,
                                      .scale = 1,
                                      .dropout = {},
                                      .packing = &packing,
                                      .key_packing = &packing,
                                      .q = q,
                                      .k = q,
                                      .v = q,
                                      .bias = {},
                                      .cache = {},
                                      .o = o,
                                      .lse = lse});
  for (int i = 0; i < 12; ++i) REQUIRE(std::isnan(o.data[std::size_t(i)]) == (i >= 8));
}

TEST_CASE("a target is correct when no logit exceeds its own", "[ref]") {
  const Values x(3, 1, 1), weight({1, 2, 2}, 1);
  const std::vector<int> targets = {0, 1, 2};
  LossSums sums{.correct = 77};
  run(one_sequence(3), op::LinearCrossEntropy<P>{.x = x,
                                                 .weight = weight,
                                                 .bias = {},
                                                 .targets = targets,
                                                 .options = {},
                                                 .sums = &sums,
                                                 .dx = {},
                                                 .dweight = {},
                                                 .dbias = {}});
  REQUIRE(sums.correct == 2);
  REQUIRE(sums.targets == 3);
}

TEST_CASE("aliases that ops.hpp allows change nothing", "[ref]") {
  const PackedRows packed = one_sequence(4);
  const Values x = random(4, 6, 1), f = random(4, 6, 2), weight = random(6, 6, 3);
  const std::vector<double> gain = random(1, 6, 4).data, mean(4, 0.1), rstd(4, 1.2);

  SECTION("ResidualAdd onto x or f") {
    const auto join = [&](Matrix<const double> a, Matrix<const double> b, Matrix<double> y) {
      run(packed, op::ResidualAdd<P>{.x = a, .f = b, .a = {2, gain}, .b = {0.5, {}}, .dropout = {0.5, Key{1}}, .y = y});
    };
    Values y = like(x), onto_x = x, onto_f = f;
    join(x, f, y), join(onto_x, f, onto_x), join(x, onto_f, onto_f);
    REQUIRE(onto_x.data == y.data);
    REQUIRE(onto_f.data == y.data);
  }
  SECTION("LinearBackwardInput onto its skip") {
    Values dx = like(x), onto_skip = f;
    run(packed, op::LinearBackwardInput<P>{.dy = x, .weight = weight, .skip = {f, 3}, .dx = dx});
    run(packed, op::LinearBackwardInput<P>{.dy = x, .weight = weight, .skip = {onto_skip, 3}, .dx = onto_skip});
    REQUIRE(onto_skip.data == dx.data);
  }
  SECTION("NormBackward onto its skip or dy") {
    const auto backward = [&](Matrix<const double> dy, Matrix<const double> skip, Matrix<double> dx) {
      std::vector<double> dgain(6), dbias(6);
      run(packed, op::NormBackward<P>{.kind = NormKind::layer,
                                      .x = x,
                                      .mean = mean,
                                      .rstd = rstd,
                                      .gain = gain,
                                      .dy = dy,
                                      .skip = {skip, 3},
                                      .dx = dx,
                                      .dgain = dgain,
                                      .dbias = dbias});
      return std::pair(dgain, dbias);
    };
    const Values dy = random(4, 6, 5);
    Values dx = like(x), onto_skip = f, onto_dy = dy;
    const auto expected = backward(dy, f, dx);
    REQUIRE(backward(dy, onto_skip, onto_skip) == expected);
    REQUIRE(backward(onto_dy, f, onto_dy) == expected);
    REQUIRE(onto_skip.data == dx.data);
    REQUIRE(onto_dy.data == dx.data);
  }
  SECTION("ActivationBackward onto dy") {
    Values dx = like(x), onto_dy = f, y = like(x);
    for (Values* d : {&dx, &onto_dy})
      run(packed,
          op::ActivationBackward<P>{
              .kind = ActivationKind::gelu, .dropout = {}, .x = x, .dy = d == &dx ? f : onto_dy, .dx = *d, .y = y});
    REQUIRE(onto_dy.data == dx.data);
  }
  SECTION("ResidualAddNorm onto f") {
    const std::vector<double> bias = random(1, 6, 6).data;
    const auto join = [&](Matrix<const double> branch, Matrix<double> z) {
      Values y = like(x);
      std::vector<double> means(4), rstds(4);
      run(packed, op::ResidualAddNorm<P>{.x = x,
                                  .f = branch,
                                  .a = {2, {}},
                                  .b = {},
                                  .dropout = {0.5, Key{1}},
                                  .kind = NormKind::layer,
                                  .epsilon = 1e-5,
                                  .gain = gain,
                                  .bias = bias,
                                  .z = z,
                                  .mean = means,
                                  .rstd = rstds,
                                  .y = y});
      return y.data;
    };
    Values z = like(x), onto_f = f;
    REQUIRE(join(f, z) == join(onto_f, onto_f));
    REQUIRE(onto_f.data == z.data);
  }
}

TEST_CASE("plain matrix and vector ops do what they say", "[ref]") {
  const PackedRows packed = one_sequence(2);
  const Values x({1, 2, 3, 6}, 2);
  Values y({10, 20, 30, 40}, 2);
  run(packed, op::Copy<P>{.x = x, .y = y, .add = true});
  REQUIRE(y.data == std::vector<double>{11, 22, 33, 46});
  run(packed, op::Copy<P>{.x = x, .y = y});
  REQUIRE(y.data == x.data);
  run(packed, op::Zero<P>{.y = y});
  REQUIRE(y.data == std::vector<double>(4, 0));
  double result = nan;
  run(packed, op::Variance<P>{.x = x, .result = &result});
  REQUIRE(result == 3.5);
  run(packed, op::SumOfSquares<P>{.x = x.span(), .result = &result});
  REQUIRE(result == 50);

  std::vector<double> values = {1, 2};
  const std::vector<double> weights = {5, 10};
  run(packed, op::Average<P>{.x = weights, .average = values, .decay = 0.75});
  REQUIRE(values == std::vector<double>{2, 4});
}

TEST_CASE("positions count past rows of a cache", "[ref]") {
  PackedRows packed({8, 2, 4});
  packed.assign(std::vector{1, 2}, std::vector{5, 0});
  const std::vector<int> tokens = {0, 0, 0};
  Values positions(6, 2), y(3, 2);
  for (int i = 0; i < 12; ++i) positions.data[std::size_t(i)] = i / 2;
  run(packed,
      op::Embedding<P>{
          .tokens = tokens, .table = Values(1, 2, 0), .positions = positions, .sinusoids = {}, .dropout = {}, .y = y});
  REQUIRE(y.data == std::vector<double>{5, 5, 0, 0, 1, 1});

  Values x(3, 2, 1);
  run(packed, op::Rotate<P>{.head_width = 2, .base = 10000, .x = x});
  REQUIRE(std::abs(x.data[0] - (std::cos(5.0) - std::sin(5.0))) < 1e-15);
  REQUIRE(x.data[2] == 1);
}

static_assert(Backend<Ref<double>> && Backend<Ref<float>>);
static_assert(!Runs<Ref<double>, op::LinearForward<Single>>);

}  // namespace ref_test
