// SPDX-License-Identifier: Apache-2.0
#include "fathom/backend/cpu/matmul/bf16_matmul.hpp"

#include <algorithm>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/cpu/emulated_tiles.hpp"

namespace bf16_matmul_test {

namespace cpu = fathom::cpu;
using cpu::MatmulSize, cpu::RowMajor, cpu::Bf16Result;
using fathom::Bf16;

/// A matrix whose rows lie `gap` elements apart; the gaps hold a value nobody may touch, and nothing follows the last
/// row.
template <class T>
struct Matrix {
  std::size_t rows, columns, stride;
  std::vector<T> values;

  Matrix(std::size_t r, std::size_t c, std::size_t gap)
      : rows(r), columns(c), stride(c + gap), values(r ? (r - 1) * stride + c : 0, T(-77.0f)) {}

  static Matrix random(std::size_t r, std::size_t c, std::size_t gap, unsigned seed) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    Matrix m(r, c, gap);
    for (std::size_t i = 0; i < r; ++i)
      for (std::size_t j = 0; j < c; ++j) m(i, j) = T(uniform(engine));
    return m;
  }

  T& operator()(std::size_t i, std::size_t j) { return values[i * stride + j]; }
  double operator()(std::size_t i, std::size_t j) const { return double(float(values[i * stride + j])); }
  RowMajor<T> view() { return {values.data(), stride}; }
  RowMajor<const T> view() const { return {values.data(), stride}; }
  bool gaps_untouched() const {
    for (std::size_t n = 0; n < values.size(); ++n)
      if (n % stride >= columns && float(values[n]) != -77.0f) return false;
    return true;
  }
};

/// What a float sum of `terms` products, each at most 1, may be off by.
double bound(std::size_t terms) { return (double(terms) + 4) * std::sqrt(double(terms) + 4) * 0x1p-24; }

/// |rounded − exact| of a bf16 result: half a unit of its last place, and the sum's error.
double bf16_bound(double exact, std::size_t terms) { return std::abs(exact) * 0x1p-8 + bound(terms) + 0x1p-130; }

/// Edges of every kind: single elements, odd sums, one more and one less than a tile, several blocks of every index.
const MatmulSize sizes[] = {{1, 1, 1},     {2, 3, 5},     {14, 32, 16},   {15, 33, 17},   {13, 31, 300},   {28, 64, 64},
                            {7, 100, 40},  {129, 48, 65}, {37, 530, 70},  {40, 70, 1100}, {600, 20, 30},   {0, 5, 4},
                            {1, 257, 255}, {3, 600, 260}, {64, 192, 128}, {261, 16, 520}, {270, 50, 1027}, {520, 8, 7},
                            {3, 0, 7},     {5, 6, 0},     {0, 0, 0}};

struct Problem {
  Matrix<Bf16> x, w, dy;
  Matrix<float> skip;
  Matrix<Bf16> bias;
  std::vector<float> scratch;

  Problem(MatmulSize s, std::size_t gap, std::size_t scratch_size)
      : x(Matrix<Bf16>::random(s.m, s.k, gap, 1)),
        w(Matrix<Bf16>::random(s.n, s.k, gap, 2)),
        dy(Matrix<Bf16>::random(s.m, s.n, gap, 3)),
        skip(Matrix<float>::random(s.m, s.k, gap, 4)),
        bias(Matrix<Bf16>::random(1, s.n, 0, 5)),
        scratch(scratch_size + 1, std::numeric_limits<float>::quiet_NaN()) {
    scratch.back() = -99;
  }

  bool scratch_kept() const { return scratch.back() == -99.0f; }
};

/// The engines: by floats, by the instruction for pairs where there is one, by an emulated matrix unit, by one that the
/// system refuses, and what `Cpu<Mixed>` takes here.
using Engines = std::tuple<cpu::Bf16Products<cpu::RegisterKernel<float>>,
#if defined(__AVX512BF16__)
                           cpu::Bf16Products<cpu::RegisterKernel<cpu::Bf16Pair>>,
#endif
                           cpu::Bf16Products<cpu::TileKernel<fathom_test::EmulatedTiles<>>>,
                           cpu::Bf16ProductsByTiles<fathom_test::EmulatedTiles<false>>, cpu::Bf16Matmul>;

TEMPLATE_LIST_TEST_CASE("bf16 products are float sums of exact products, rounded once", "[matmul][bf16]", Engines) {
  using Products = TestType;
  for (const auto size : sizes)
    for (const std::size_t gap : {0u, 3u}) {
      CAPTURE(size.m, size.n, size.k, gap);
      Problem problem(size, gap, Products::scratch_size(size));
      const auto& [x, w, dy, skip, bias, unused] = problem;

      for (const bool with_bias : {false, true}) {
        Matrix<float> sums(size.m, size.n, gap);
        Matrix<Bf16> rounded(size.m, size.n, gap), alone(size.m, size.n, gap);
        const Bf16* b = with_bias ? bias.values.data() : nullptr;
        Products::forward(size, x.view(), w.view(), b, {sums.view(), rounded.view()}, problem.scratch.data());
        Products::forward(size, x.view(), w.view(), b, {{}, alone.view()}, problem.scratch.data());
        double worst = 0;
        bool rounding = true;
        for (std::size_t i = 0; i < size.m; ++i)
          for (std::size_t j = 0; j < size.n; ++j) {
            double exact = with_bias ? bias(0, j) : 0;
            for (std::size_t p = 0; p < size.k; ++p) exact += std::as_const(x)(i, p) * std::as_const(w)(j, p);
            worst = std::max(worst, std::abs(std::as_const(sums)(i, j) - exact));
            rounding =
                rounding && rounded(i, j).bits == Bf16(sums(i, j)).bits && alone(i, j).bits == rounded(i, j).bits;
          }
        CHECK(worst <= bound(size.k));
        CHECK(rounding);
        CHECK((sums.gaps_untouched() && rounded.gaps_untouched() && alone.gaps_untouched()));
      }

      for (const bool with_skip : {false, true}) {
        const float scale = 2.7f;
        Matrix<float> sums(size.m, size.k, gap);
        Matrix<Bf16> rounded(size.m, size.k, gap), alone(size.m, size.k, gap);
        const auto from = with_skip ? skip.view() : RowMajor<const float>{};
        Products::input_gradient(size, dy.view(), w.view(), from, scale, {sums.view(), rounded.view()},
                                 problem.scratch.data());
        Products::input_gradient(size, dy.view(), w.view(), from, scale, {{}, alone.view()}, problem.scratch.data());
        double worst = 0;
        bool rounding = true;
        for (std::size_t i = 0; i < size.m; ++i)
          for (std::size_t p = 0; p < size.k; ++p) {
            double exact = with_skip ? double(scale) * std::as_const(skip)(i, p) : 0;
            for (std::size_t j = 0; j < size.n; ++j) exact += std::as_const(dy)(i, j) * std::as_const(w)(j, p);
            worst = std::max(worst, std::abs(std::as_const(sums)(i, p) - exact));
            rounding =
                rounding && rounded(i, p).bits == Bf16(sums(i, p)).bits && alone(i, p).bits == rounded(i, p).bits;
          }
        CHECK(worst <= 2 * bound(size.n));
        CHECK(rounding);
        CHECK((sums.gaps_untouched() && rounded.gaps_untouched() && alone.gaps_untouched()));
        if (with_skip) {
          auto in_place = skip;
          Products::input_gradient(size, dy.view(), w.view(), in_place.view(), scale, {in_place.view(), {}},
                                   problem.scratch.data());
          CHECK(in_place.values == sums.values);
        }
      }

      Matrix<float> dw = Matrix<float>::random(size.n, size.k, gap, 6), db = Matrix<float>::random(1, size.n, 0, 7);
      const Matrix<float> dw_before = dw, db_before = db;
      Products::weight_gradient(size, dy.view(), x.view(), dw.view(), db.values.data(), problem.scratch.data());
      double worst = 0, worst_bias = 0;
      for (std::size_t j = 0; j < size.n; ++j) {
        for (std::size_t p = 0; p < size.k; ++p) {
          double exact = dw_before(j, p);
          for (std::size_t i = 0; i < size.m; ++i) exact += std::as_const(dy)(i, j) * std::as_const(x)(i, p);
          worst = std::max(worst, std::abs(std::as_const(dw)(j, p) - exact));
        }
        double exact = db_before(0, j);
        for (std::size_t i = 0; i < size.m; ++i) exact += std::as_const(dy)(i, j);
        worst_bias = std::max(worst_bias, std::abs(std::as_const(db)(0, j) - exact));
      }
      CHECK(worst <= bound(size.m));
      CHECK(worst_bias <= bound(size.m));
      CHECK(dw.gaps_untouched());

      Matrix<Bf16> few(size.m, size.n, gap);
      Products::forward_few_rows(size, x.view(), w.view(), bias.values.data(), few.view());
      bool near = true;
      for (std::size_t i = 0; i < size.m; ++i)
        for (std::size_t j = 0; j < size.n; ++j) {
          double exact = bias(0, j);
          for (std::size_t p = 0; p < size.k; ++p) exact += std::as_const(x)(i, p) * std::as_const(w)(j, p);
          near = near && std::abs(std::as_const(few)(i, j) - exact) <= bf16_bound(exact, size.k);
        }
      CHECK(near);
      CHECK(few.gaps_untouched());
      CHECK(problem.scratch_kept());
    }
}

TEMPLATE_LIST_TEST_CASE("bits of bf16 products do not depend on how rows and columns are cut", "[matmul][bf16]",
                        Engines) {
  using Products = TestType;
  const MatmulSize size{50, 70, 1100};
  Problem problem(size, 0, Products::scratch_size(size));
  Matrix<Bf16> whole(size.m, size.n, 0), pieces(size.m, size.n, 0);
  Matrix<Bf16> together(9, size.n, 0), few_together(9, size.n, 0), alone(3, size.n, 0), few_alone(3, size.n, 0);
  Products::forward(size, problem.x.view(), problem.w.view(), nullptr, {{}, whole.view()}, problem.scratch.data());
  for (std::size_t i = 0; i < size.m; i += 9)
    for (std::size_t j = 0; j < size.n; j += 13) {
      const MatmulSize piece{std::min<std::size_t>(9, size.m - i), std::min<std::size_t>(13, size.n - j), size.k};
      Products::forward(piece, {problem.x.view().row(i), size.k}, {problem.w.view().row(j), size.k}, nullptr,
                        {{}, {pieces.view().row(i) + j, size.n}}, problem.scratch.data());
      const auto few = [&](std::size_t row, std::size_t rows, Matrix<Bf16>& to) {
        Products::forward_few_rows({rows, piece.n, size.k}, {problem.x.view().row(row), size.k},
                                   {problem.w.view().row(j), size.k}, nullptr, {to.view().row(row) + j, size.n});
      };
      if (i == 0) {  // there is one order of sums below four rows, and one from there on
        few(0, 5, few_together), few(5, 4, few_together);
        for (std::size_t r = 0; r < 3; ++r) few(r, 1, few_alone);
      }
    }
  Products::forward_few_rows({9, size.n, size.k}, problem.x.view(), problem.w.view(), nullptr, together.view());
  Products::forward_few_rows({3, size.n, size.k}, problem.x.view(), problem.w.view(), nullptr, alone.view());
  const auto bits = [](const Matrix<Bf16>& m) {
    std::vector<std::uint16_t> all;
    for (const Bf16 v : m.values) all.push_back(v.bits);
    return all;
  };
  CHECK(bits(whole) == bits(pieces));
  CHECK(bits(together) == bits(few_together));
  CHECK(bits(alone) == bits(few_alone));

  // Gradients, cut by the rows of their result.
  Matrix<float> dx(size.m, size.k, 0), dx_pieces(size.m, size.k, 0);
  Products::input_gradient(size, problem.dy.view(), problem.w.view(), {}, 1, {dx.view(), {}}, problem.scratch.data());
  for (std::size_t i = 0; i < size.m; i += 9) {
    const std::size_t rows = std::min<std::size_t>(9, size.m - i);
    Products::input_gradient({rows, size.n, size.k}, {problem.dy.view().row(i), size.n}, problem.w.view(), {}, 1,
                             {{dx_pieces.view().row(i), size.k}, {}}, problem.scratch.data());
  }
  CHECK(dx.values == dx_pieces.values);
  Matrix<float> dw(size.n, size.k, 0), dw_pieces = dw;
  std::ranges::fill(dw.values, 0.0f), std::ranges::fill(dw_pieces.values, 0.0f);
  Products::weight_gradient(size, problem.dy.view(), problem.x.view(), dw.view(), nullptr, problem.scratch.data());
  for (std::size_t j = 0; j < size.n; j += 13) {
    const std::size_t rows = std::min<std::size_t>(13, size.n - j);
    Products::weight_gradient({size.m, rows, size.k}, {problem.dy.view().row(0) + j, size.n}, problem.x.view(),
                              {dw_pieces.view().row(j), size.k}, nullptr, problem.scratch.data());
  }
  CHECK(dw.values == dw_pieces.values);
}

TEST_CASE("a matrix unit is used where the system grants it, and refused it is not", "[matmul][bf16]") {
  const MatmulSize size{33, 40, 70};
  const auto product = [&]<class Products>() {
    Problem problem(size, 0, Products::scratch_size(size));
    Matrix<float> sums(size.m, size.n, 0);
    Products::forward(size, problem.x.view(), problem.w.view(), nullptr, {sums.view(), {}}, problem.scratch.data());
    return sums.values;
  };
  using fathom_test::EmulatedTiles;
  const auto in_tiles = product.template operator()<cpu::Bf16Products<cpu::TileKernel<EmulatedTiles<>>>>();
  const auto in_registers = product.template operator()<cpu::Bf16Products<cpu::RegisterKernel<cpu::Bf16Unit>>>();
  CHECK(in_tiles != in_registers);  // another order of sums
  CHECK(product.template operator()<cpu::Bf16ProductsByTiles<EmulatedTiles<true>>>() == in_tiles);
  CHECK(product.template operator()<cpu::Bf16ProductsByTiles<EmulatedTiles<false>>>() == in_registers);
}

}  // namespace bf16_matmul_test
