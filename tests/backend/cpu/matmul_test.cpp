// SPDX-License-Identifier: Apache-2.0
#include "fathom/backend/cpu/matmul.hpp"

#if __has_include(<Eigen/Core>)
#include "fathom/backend/cpu/matmul/eigen.hpp"
#endif

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

namespace matmul_test {

namespace cpu = fathom::cpu;
using cpu::MatmulSize, cpu::RowMajor;

/// A matrix whose rows lie `gap` elements apart; the gaps hold a value nobody may touch, and nothing follows the last
/// row.
template <class T>
struct Matrix {
  static constexpr T untouched = T(-77);
  std::size_t rows, columns, stride;
  std::vector<T> values;

  Matrix(std::size_t r, std::size_t c, std::size_t gap = 0)
      : rows(r), columns(c), stride(c + gap), values(r ? (r - 1) * stride + c : 0, untouched) {}

  static Matrix random(std::size_t r, std::size_t c, std::size_t gap, unsigned seed) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<T> uniform(-1, 1);
    Matrix m(r, c, gap);
    for (std::size_t i = 0; i < r; ++i)
      for (std::size_t j = 0; j < c; ++j) m(i, j) = uniform(engine);
    return m;
  }

  T& operator()(std::size_t i, std::size_t j) { return values[i * stride + j]; }
  T operator()(std::size_t i, std::size_t j) const { return values[i * stride + j]; }
  RowMajor<T> view() { return {values.data(), stride}; }
  RowMajor<const T> view() const { return {values.data(), stride}; }
};

/// The arithmetic Native promises: one chain of fma (a·b + c on machines without), ascending.
template <class T>
T chained(T a, T b, T c) {
#if defined(__FMA__)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

template <class T>
struct Problem {
  MatmulSize size;
  Matrix<T> x, w, dy, skip, bias;

  explicit Problem(MatmulSize s, std::size_t gap = 0)
      : size(s),
        x(Matrix<T>::random(s.m, s.k, gap, 1)),
        w(Matrix<T>::random(s.n, s.k, gap, 2)),
        dy(Matrix<T>::random(s.m, s.n, gap, 3)),
        skip(Matrix<T>::random(s.m, s.k, gap, 4)),
        bias(Matrix<T>::random(1, s.n, 0, 5)) {}

  Matrix<T> expected_forward(std::size_t gap, bool with_bias) const {
    Matrix<T> y(size.m, size.n, gap);
    for (std::size_t i = 0; i < size.m; ++i)
      for (std::size_t j = 0; j < size.n; ++j) {
        T sum = with_bias ? bias(0, j) : T(0);
        for (std::size_t p = 0; p < size.k; ++p) sum = chained(x(i, p), w(j, p), sum);
        y(i, j) = sum;
      }
    return y;
  }

  Matrix<T> expected_input_gradient(std::size_t gap, bool with_skip, T scale) const {
    Matrix<T> dx(size.m, size.k, gap);
    for (std::size_t i = 0; i < size.m; ++i)
      for (std::size_t p = 0; p < size.k; ++p) {
        T sum = with_skip ? scale * skip(i, p) : T(0);
        for (std::size_t j = 0; j < size.n; ++j) sum = chained(dy(i, j), w(j, p), sum);
        dx(i, p) = sum;
      }
    return dx;
  }

  void add_weight_gradient(Matrix<T>& dw, Matrix<T>& db) const {
    for (std::size_t j = 0; j < size.n; ++j) {
      for (std::size_t p = 0; p < size.k; ++p)
        for (std::size_t i = 0; i < size.m; ++i) dw(j, p) = chained(dy(i, j), x(i, p), dw(j, p));
      for (std::size_t i = 0; i < size.m; ++i) db(0, j) += dy(i, j);
    }
  }
};

template <class Engine, class T>
std::vector<T> scratch_for(MatmulSize size) {
  return std::vector<T>(Engine::template scratch_size<T>(size));
}

/// Edges of every kind: single elements, one more and one less than a tile, several cache blocks, no rows.
const MatmulSize sizes[] = {{1, 1, 1},     {2, 3, 5},     {14, 32, 16},   {15, 33, 17},   {13, 31, 300}, {28, 64, 64},
                            {7, 100, 40},  {129, 48, 65}, {37, 530, 70},  {40, 70, 1100}, {600, 20, 30}, {0, 5, 4},
                            {1, 257, 255}, {3, 600, 260}, {64, 192, 128}, {261, 16, 8},   {270, 50, 265}};

TEMPLATE_TEST_CASE("every element is one fma chain", "[matmul]", float, double) {
  using Engine = cpu::Native;
  for (const auto size : sizes)
    for (const std::size_t gap : {0, 3}) {
      CAPTURE(size.m, size.n, size.k, gap);
      const Problem<TestType> problem(size, gap);
      auto scratch = scratch_for<Engine, TestType>(size);

      for (const bool with_bias : {false, true}) {
        Matrix<TestType> y(size.m, size.n, gap);
        Engine::forward<TestType>(size, problem.x.view(), problem.w.view(),
                                  with_bias ? problem.bias.values.data() : nullptr, y.view(), scratch.data());
        CHECK(y.values == problem.expected_forward(gap, with_bias).values);
      }

      Matrix<TestType> dx(size.m, size.k, gap);
      Engine::input_gradient<TestType>(size, problem.dy.view(), problem.w.view(), {}, 1, dx.view(), scratch.data());
      CHECK(dx.values == problem.expected_input_gradient(gap, false, 1).values);
      const TestType scale = TestType(2.7);
      Engine::input_gradient<TestType>(size, problem.dy.view(), problem.w.view(), problem.skip.view(), scale, dx.view(),
                                       scratch.data());
      CHECK(dx.values == problem.expected_input_gradient(gap, true, scale).values);
      auto in_place = problem.skip;
      Engine::input_gradient<TestType>(size, problem.dy.view(), problem.w.view(), in_place.view(), scale,
                                       in_place.view(), scratch.data());
      CHECK(in_place.values == dx.values);

      auto dw = Matrix<TestType>::random(size.n, size.k, gap, 6), db = Matrix<TestType>::random(1, size.n, 0, 7);
      auto expected_dw = dw, expected_db = db;
      problem.add_weight_gradient(expected_dw, expected_db);
      Engine::weight_gradient<TestType>(size, problem.dy.view(), problem.x.view(), dw.view(), db.values.data(),
                                        scratch.data());
      CHECK(dw.values == expected_dw.values);
      CHECK(db.values == expected_db.values);
    }
}

/// Engine and scalar type of one test case.
template <class E, class S>
struct Case {
  using Engine = E;
  using Scalar = S;
};

#if __has_include(<Eigen/Core>)
using Cases = std::tuple<Case<cpu::DefaultMatmul, float>, Case<cpu::DefaultMatmul, double>,
                         Case<cpu::EigenMatmul, float>, Case<cpu::EigenMatmul, double>>;
#else
using Cases = std::tuple<Case<cpu::DefaultMatmul, float>, Case<cpu::DefaultMatmul, double>>;
#endif

TEMPLATE_LIST_TEST_CASE("every engine computes the three forms", "[matmul]", Cases) {
  using Engine = typename TestType::Engine;
  using T = typename TestType::Scalar;
  for (const auto size : sizes) {
    CAPTURE(size.m, size.n, size.k);
    constexpr std::size_t gap = 5;
    const Problem<T> problem(size, gap);
    auto scratch = scratch_for<Engine, T>(size);
    // Rounding errors of sums of products in [-1, 1].
    const T tolerance = 4 * std::numeric_limits<T>::epsilon() * static_cast<T>(size.m + size.n + size.k);
    const auto close = [&](const Matrix<T>& a, const Matrix<T>& b) {
      return std::ranges::equal(a.values, b.values, [&](T x, T y) { return std::abs(x - y) <= tolerance; });
    };

    Matrix<T> y(size.m, size.n, gap), dx(size.m, size.k, gap);
    Engine::template forward<T>(size, problem.x.view(), problem.w.view(), problem.bias.values.data(), y.view(),
                                scratch.data());
    CHECK(close(y, problem.expected_forward(gap, true)));
    Engine::template forward<T>(size, problem.x.view(), problem.w.view(), nullptr, y.view(), scratch.data());
    CHECK(close(y, problem.expected_forward(gap, false)));
    Engine::template input_gradient<T>(size, problem.dy.view(), problem.w.view(), problem.skip.view(), T(2.5),
                                       dx.view(), scratch.data());
    CHECK(close(dx, problem.expected_input_gradient(gap, true, T(2.5))));
    Engine::template input_gradient<T>(size, problem.dy.view(), problem.w.view(), {}, 1, dx.view(), scratch.data());
    CHECK(close(dx, problem.expected_input_gradient(gap, false, 1)));

    auto dw = Matrix<T>::random(size.n, size.k, gap, 6), db = Matrix<T>::random(1, size.n, 0, 7);
    auto expected_dw = dw, expected_db = db;
    problem.add_weight_gradient(expected_dw, expected_db);
    Engine::template weight_gradient<T>(size, problem.dy.view(), problem.x.view(), dw.view(), db.values.data(),
                                        scratch.data());
    CHECK(close(dw, expected_dw));
    CHECK(close(db, expected_db));

    Engine::template forward_few_rows<T>(size, problem.x.view(), problem.w.view(), problem.bias.values.data(), y.view(),
                                         scratch.data());
    CHECK(close(y, problem.expected_forward(gap, true)));
    Engine::template forward_few_rows<T>(size, problem.x.view(), problem.w.view(), nullptr, y.view(), scratch.data());
    CHECK(close(y, problem.expected_forward(gap, false)));
  }
}

TEMPLATE_LIST_TEST_CASE("bits do not depend on the cut", "[matmul]", Cases) {
  using Engine = typename TestType::Engine;
  using T = typename TestType::Scalar;
  const std::size_t step = Engine::row_granularity;
  const MatmulSize size{2 * step + 41, 2 * step + 37, 300};
  const Problem<T> problem(size, 3);
  auto scratch = scratch_for<Engine, T>(size);

  Matrix<T> y(size.m, size.n), dx(size.m, size.k), dw(size.n, size.k), db(1, size.n);
  Engine::forward(size, problem.x.view(), problem.w.view(), problem.bias.values.data(), y.view(), scratch.data());
  Engine::input_gradient(size, problem.dy.view(), problem.w.view(), problem.skip.view(), T(0.3), dx.view(),
                         scratch.data());
  Engine::weight_gradient(size, problem.dy.view(), problem.x.view(), dw.view(), db.values.data(), scratch.data());
  Matrix<T> few(size.m, size.n);
  Engine::forward_few_rows(size, problem.x.view(), problem.w.view(), problem.bias.values.data(), few.view(),
                           scratch.data());

  for (const std::size_t cut : {step, 2 * step, 13 * step}) {
    CAPTURE(cut);
    Matrix<T> y2(size.m, size.n), dx2(size.m, size.k), dw2(size.n, size.k), db2(1, size.n), few2(size.m, size.n);
    const auto from = [](const auto& matrix, std::size_t row) {
      const auto view = matrix.view();
      return RowMajor{view.row(row), view.stride};
    };
    for (const bool second : {false, true}) {
      const std::size_t row = second ? std::min(size.m, cut) : 0, feature = second ? std::min(size.n, cut) : 0;
      const std::size_t rows = second ? size.m - row : std::min(size.m, cut);
      const std::size_t features = second ? size.n - feature : std::min(size.n, cut);
      if (rows > 0) {
        const MatmulSize of_rows{rows, size.n, size.k};
        Engine::forward(of_rows, from(problem.x, row), problem.w.view(), problem.bias.values.data(),
                        RowMajor<T>{&y2(row, 0), y2.stride}, scratch.data());
        Engine::input_gradient(of_rows, from(problem.dy, row), problem.w.view(), from(problem.skip, row), T(0.3),
                               RowMajor<T>{&dx2(row, 0), dx2.stride}, scratch.data());
      }
      if (features > 0) {
        const MatmulSize of_features{size.m, features, size.k};
        Engine::weight_gradient(of_features, {&problem.dy.values[feature], problem.dy.stride}, problem.x.view(),
                                RowMajor<T>{&dw2(feature, 0), dw2.stride}, &db2(0, feature), scratch.data());
        Engine::forward_few_rows(of_features, problem.x.view(), from(problem.w, feature), &problem.bias.values[feature],
                                 RowMajor<T>{&few2(0, feature), few2.stride}, scratch.data());
      }
    }
    CHECK(y2.values == y.values);
    CHECK(dx2.values == dx.values);
    CHECK(dw2.values == dw.values);
    CHECK(db2.values == db.values);
    CHECK(few2.values == few.values);
  }
}

TEMPLATE_LIST_TEST_CASE("few rows: bits do not depend on how many there are, from four on", "[matmul]", Cases) {
  using Engine = typename TestType::Engine;
  using T = typename TestType::Scalar;
  const MatmulSize size{37, 29, 300};
  const Problem<T> problem(size, 4);
  auto scratch = scratch_for<Engine, T>(size);
  Matrix<T> all(size.m, size.n);
  Engine::forward_few_rows(size, problem.x.view(), problem.w.view(), problem.bias.values.data(), all.view(),
                           scratch.data());

  for (const std::size_t piece : {4, 5, 7, 8, 16}) {
    CAPTURE(piece);
    Matrix<T> y(size.m, size.n);
    for (std::size_t row = 0; row < size.m; row += piece) {
      const std::size_t begin = std::min(row, size.m - piece);
      Engine::forward_few_rows({piece, size.n, size.k}, {problem.x.view().row(begin), problem.x.stride},
                               problem.w.view(), problem.bias.values.data(), RowMajor<T>{&y(begin, 0), y.stride},
                               scratch.data());
    }
    CHECK(y.values == all.values);
  }
}

}  // namespace matmul_test
